//! The engine under test and its model, and programs of the conformance suite's making run on it.

use std::sync::OnceLock;

pub use irc::{
    backends::conformance::{
        odd,
        program::{Program, hooks, ids},
        weights,
    },
    ir::random::Dice,
};
use irc::{
    backends::{
        Backend, Handle, Outcome,
        conformance::{VOCABULARY, handle, program},
        execute::Driven,
        reference::Reference,
        rten::Rten,
    },
    ir::{eval::Value, tensor::Tensor},
    models::llama::LlamaConfig,
};

pub fn config() -> LlamaConfig {
    let config = serde_json::json!({
        "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
    });
    LlamaConfig::read(config.as_object().expect("an object")).expect("the configuration is right")
}

/// A Llama of three layers.
pub fn llama() -> &'static Handle {
    static MODEL: OnceLock<Handle> = OnceLock::new();
    MODEL.get_or_init(|| handle(config().spec().expect("the configuration is right"), 1))
}

/// The engine under test, on two threads.
pub fn engine() -> &'static Driven {
    static ENGINE: OnceLock<Driven> = OnceLock::new();
    ENGINE.get_or_init(|| Driven::new(Rten::new(Some(2))))
}

/// Runs a program on the engine.
pub fn run(program: &Program) -> Outcome {
    program.run(engine()).unwrap_or_else(|error| panic!("{error:?}"))
}

/// Runs a program on the engine and on the reference, and compares all that is saved.
pub fn check(program: &Program, what: &str) -> Outcome {
    let run = |backend: &dyn Backend| program.run(backend).unwrap_or_else(|error| panic!("{what} on {}: {error:?}", backend.name()));
    let (found, expected) = (run(engine()), run(&Reference));
    program::agree(&found, &expected).unwrap_or_else(|error| panic!("{what}: {error}"));
    found
}

/// Whether all that one program saved has the same bits in another one.
pub fn same_bits(what: &str, some: &Outcome, all: &Outcome) {
    program::same_bits(some, all).unwrap_or_else(|error| panic!("{what}: {error}"));
}

pub fn tensor<'a>(outcome: &'a Outcome, name: &str) -> &'a Tensor {
    outcome.get(name).and_then(Value::as_tensor).unwrap_or_else(|| panic!("{name} is saved"))
}
