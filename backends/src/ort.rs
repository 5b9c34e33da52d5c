//! ONNX Runtime: a library that is loaded while the program runs, the engine on it, and whole programs as graphs of it.
//!
//! Nothing of it is linked, so a program that never asks for this engine needs nothing of it.

pub mod cuda;
mod device;
mod engine;
mod recent;
pub mod runtime;
mod session;
mod whole_graph;

pub use device::{Device, Precision};
pub use engine::{Optimization, Ort};
pub use session::OnnxModel;
pub use whole_graph::WholeGraph;
