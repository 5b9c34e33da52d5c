//! ONNX Runtime: a library that is loaded while the program runs, and the engine on it.
//!
//! Nothing of it is linked, so a program that never asks for this engine needs nothing of it.

pub mod cuda;
mod engine;
pub mod runtime;
mod session;

pub use engine::{Optimization, Ort};
pub use session::OnnxModel;
