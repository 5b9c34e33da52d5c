//! Random well-typed programs, for tests, fuzzing and other people's engines.
//!
//! ```
//! use irc_ir::{infer::Models, model::ModelBuilder, random::{Config, program}, types::DType, verify::verify};
//!
//! let mut m = ModelBuilder::new("small", DType::F32, 10, 64);
//! let tokens = m.tokens();
//! let x = m.module("embed", tokens, |m, tokens| m.embedding("weight", tokens, 10, 4));
//! let logits = m.projection("head", x, 4, 10);
//! let models = Models::from([("m".into(), m.finish(logits)?.into())]);
//!
//! for seed in 0..20 {
//!     verify(program(seed, &models, &Config::default()), &models)?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A program is a random walk: each step picks an operation, attributes and operands, and stays if they fit. Operations are
//! taken from the table by the kinds of their attributes, so that a new one takes part without being mentioned here. The same
//! seed, models and configuration give the same program.
//!
//! What these programs ask for can always be computed: indices and token ids lie inside, forwards are no longer than their
//! context. What their functions do is [`call`].
//!
//! This module is always compiled: it needs nothing that the language does not need, and conformance suites of engines are
//! ordinary code that uses it.

mod effects;
mod fitting;
mod loops;
mod walk;

use crate::{
    diagnostic::Span,
    eval::{Opaque, Value, eval},
    graph::{Graph, ModelDecl},
    infer::Models,
    op::Op,
    tensor::Tensor,
};

/// What random programs have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// About how many nodes a program has, those in bodies of loops included.
    pub nodes: usize,
    /// The most elements of a tensor.
    pub elements: i64,
    /// Hooks that are set.
    pub writes: bool,
    /// Forwards that go on with more tokens.
    pub extends: bool,
    /// Loops, as values and as effects, which carry tensors and forwards and may end early.
    pub loops: bool,
    /// Calls of [`FUNCTIONS`], as values and as effects.
    pub calls: bool,
    /// Effects that run under a condition.
    pub guards: bool,
    /// Rarely, a stop.
    pub stops: bool,
}

impl Default for Config {
    /// Everything, in about fifty nodes.
    fn default() -> Config {
        Config { nodes: 50, elements: 3000, writes: true, extends: true, loops: true, calls: true, guards: true, stops: true }
    }
}

impl Config {
    /// Forwards, reads, writes, applied modules and operations on tensors, saved and logged: what every engine can do.
    pub fn plain() -> Config {
        Config { extends: false, loops: false, calls: false, guards: false, stops: false, ..Config::default() }
    }
}

/// The program of a seed, on models of these names.
///
/// It verifies. Without models it has operations on tensors only.
pub fn program(seed: u64, models: &Models, config: &Config) -> Graph {
    let mut graph = Graph::new(format!("random {seed}"));
    graph.models = models.keys().map(|name| ModelDecl { name: name.clone(), reference: name.clone(), span: Span::None }).collect();
    walk::Walk::new(Dice::new(seed), models, config, graph).program()
}

/// The functions that random programs call: without effects, then with effects.
pub const FUNCTIONS: [&[&str]; 2] = [&["halve", "total", "wrap", "unwrap"], &["echo", "tell", "keep"]];

/// What a function that random programs call does. They remember nothing, so that a program always gets the same.
///
/// `halve` a tensor, `echo` a value, `total` and `tell` of values: a number between -1 and 1, f32, from all their elements;
/// `wrap` and `keep` that number as an opaque value; `unwrap` it.
///
/// # Errors
/// If there is no such function, or it does not take these values.
pub fn call(function: &str, operands: &[Value]) -> Result<Value, String> {
    let number = |values: &[Value]| values.iter().map(total).sum::<f64>().tanh() as f32;
    match (function, operands) {
        ("halve", [Value::Tensor(tensor)]) => {
            // A narrow float without dimensions becomes f32 by it.
            let half = eval(&Op::Mul {}, &[&tensor.clone().into(), &Tensor::scalar(0.5f32).into()]);
            let half = half.and_then(|half| eval(&Op::Cast { dtype: tensor.dtype() }, &[&half]));
            half.map_err(|error| error.message().to_owned())
        }
        ("echo", [value]) => Ok(value.clone()),
        ("total" | "tell", values) => Ok(Tensor::scalar(number(values)).into()),
        ("wrap" | "keep", values) => Ok(Value::Opaque(Opaque::new(number(values)))),
        ("unwrap", [Value::Opaque(opaque)]) => match opaque.get::<f32>() {
            Some(number) => Ok(Tensor::scalar(*number).into()),
            None => Err("this is not what `wrap` gives".to_owned()),
        },
        _ => Err(format!("there is no function `{function}` of {} such values", operands.len())),
    }
}

/// A number that depends on all elements of a value.
fn total(value: &Value) -> f64 {
    let elements = value.as_tensor().map(|tensor| tensor.to_f64()).unwrap_or_default();
    let parts = value.as_tuple().or(value.as_list()).unwrap_or_default();
    let sum: f64 = elements.iter().filter(|x| x.is_finite()).map(|x| x.tanh()).sum();
    sum / (1 + elements.len()) as f64 + parts.iter().map(total).sum::<f64>()
}

/// Numbers without a pattern, the same for the same seed everywhere.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that begin anew for each seed.
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }

    /// From 0 up to but not including `count`; 0 where that is 0.
    pub fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % count.max(1)
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(1) as usize) as i64
    }

    /// One in `of` times.
    pub fn once_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    /// From -1 to 1.
    pub fn float(&mut self) -> f32 {
        self.below(20_001) as f32 / 10_000.0 - 1.0
    }

    /// One of several.
    ///
    /// # Panics
    /// If there are none.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}
