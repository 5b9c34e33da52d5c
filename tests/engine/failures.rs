//! What goes wrong while a program runs is an error with a place, never a panic.

use std::sync::Arc;

use irc::{
    backends::{Backend, Call, Caps, Engine, Handle, LoadedModel, execute::Driven, reference::Reference, rten::Rten, weights::Weights},
    ir::{code::Code, diagnostic::Diagnostic, model::RotaryShape, tensor::Tensor},
};

use crate::support::{Dice, Program, check, config, engine, hooks, ids, llama, weights};

fn backends() -> [&'static dyn Backend; 2] {
    [engine(), &Reference]
}

/// An engine that stops at some call.
struct Broken {
    inner: Rten,
    calls: usize,
}

struct BrokenModel {
    inner: Arc<dyn LoadedModel>,
    calls: std::sync::atomic::AtomicUsize,
}

impl Engine for Broken {
    fn caps(&self) -> Caps {
        self.inner.caps()
    }
    fn load(&self, model: &Handle) -> Result<Arc<dyn LoadedModel>, Diagnostic> {
        Ok(Arc::new(BrokenModel { inner: self.inner.load(model)?, calls: self.calls.into() }))
    }
}

impl LoadedModel for BrokenModel {
    fn run(&self, call: &Call<'_>) -> Result<Vec<Tensor>, Diagnostic> {
        use std::sync::atomic::Ordering;
        match self.calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => self.inner.run(call),
            Err(_) => Err(Diagnostic::error(Code::E4003, "the engine is out of breath")),
        }
    }
    fn numeric_class(&self) -> String {
        self.inner.numeric_class()
    }
}

#[test]
fn the_engines_error_is_the_programs() {
    let mut program = Program::new(llama());
    let forward = program.forward(&ids(1, 100, &mut Dice::new(83)));
    let logits = program.read(forward, "lm_head.output");
    program.save("logits", logits);
    for calls in 0..14 {
        let broken = Driven::new(Broken { inner: Rten::new(Some(1)), calls });
        let error = program.run(&broken).expect_err("the engine stops");
        assert_eq!((error.code, error.message.as_str()), (Code::E4003, "the engine is out of breath"), "after {calls} calls");
    }
}

/// An engine that gives less than it is asked for.
struct Lazy(usize);

impl Engine for Lazy {
    fn caps(&self) -> Caps {
        Caps { engine: "lazy".to_owned(), chunk: 64, min_rows: 1, edits: false, splices: false, prunes: true }
    }
    fn load(&self, _: &Handle) -> Result<Arc<dyn LoadedModel>, Diagnostic> {
        Ok(Arc::new(Lazy(self.0)))
    }
}

impl LoadedModel for Lazy {
    fn run(&self, call: &Call<'_>) -> Result<Vec<Tensor>, Diagnostic> {
        let row = || Tensor::new([1, 7], vec![0.0f32; 7]);
        Ok(match self.0 {
            0 => vec![],
            1 => call.want.iter().map(|_| row()).collect(),
            2 => call.want.iter().map(|_| Tensor::scalar(1.0f32)).collect(),
            _ => call.want.iter().map(|_| Tensor::new([3, 32], vec![1i64; 96])).collect(),
        })
    }
    fn numeric_class(&self) -> String {
        "lazy".to_owned()
    }
}

#[test]
fn engines_that_break_their_word_are_errors() {
    for how in 0..4 {
        let mut program = Program::new(llama());
        let forward = program.forward(&ids(1, 3, &mut Dice::new(84)));
        let logits = program.read(forward, "model.layers.0.output");
        program.save("logits", logits);
        let error = program.run(&Driven::new(Lazy(how))).expect_err("the engine is lazy");
        assert_eq!(error.code, Code::E4003, "{error:?}");
    }
}

#[test]
fn wrong_weights_are_named() {
    let spec = llama().spec.clone();
    let whole = weights(&spec, 3);
    for name in ["model.layers.1.self_attn.q_proj.weight.T", "model.norm.weight", "model.embed_tokens.weight", "lm_head.weight.T"] {
        for change in 0..3 {
            let mut some = whole.clone();
            let old = some.remove(name).expect("the weight has this name");
            match change {
                0 => {}
                1 => drop(
                    some.insert(name.into(), Tensor::new([old.len()], old.values::<f32>().expect("f32").to_vec()).reshaped([1, old.len()])),
                ),
                _ => drop(some.insert(name.into(), Tensor::new(old.shape(), vec![0.0f64; old.len()]))),
            }
            let handle = Handle { spec: spec.clone(), weights: Weights::from_tensors(some) };
            assert!(handle.weights.check(&spec).is_err());
            let mut program = Program::new(&handle);
            let forward = program.forward(&ids(1, 3, &mut Dice::new(85)));
            let logits = program.read(forward, "lm_head.output");
            program.save("logits", logits);
            for backend in backends() {
                let error = program.run(backend).expect_err("the weight is wrong");
                assert_eq!(error.code, Code::E0012, "{name}: {error:?}");
                assert!(error.message.contains(name) && !error.labels.is_empty(), "{name}: {error:?}");
            }
        }
    }
    // A model that the program names and nobody brought.
    let mut program = Program::new(llama());
    let forward = program.forward(&ids(1, 3, &mut Dice::new(86)));
    let logits = program.read(forward, "lm_head.output");
    program.save("logits", logits);
    let verified = program.verified();
    for backend in backends() {
        let error = backend.run(&verified, &Default::default(), &mut |_| {}).expect_err("there are no weights");
        assert!(error.message.contains("`m`"), "{error:?}");
    }
}

/// One set of weights under two architectures: what was loaded for one is not taken for the other.
#[test]
fn one_set_of_weights_for_two_specs() {
    let first = llama();
    let other = irc::models::llama::LlamaConfig { rotary: RotaryShape::new(10.0, 8), rms_norm_eps: 0.5, ..config() };
    let second = Handle { spec: Arc::new(other.spec().expect("the configuration is right")), weights: first.weights.clone() };
    let mut program = Program::new(first).with("n", &second);
    let ids = program.constant(&ids(1, 6, &mut Dice::new(87)));
    for model in ["m", "n"] {
        let forward = program.forward_on(model, ids);
        for hook in hooks(first) {
            let value = program.read(forward, &hook);
            program.save(format!("{model} {hook}"), value);
        }
    }
    check(&program, "two specs");
}
