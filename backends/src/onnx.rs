//! ONNX: the protobuf messages, the one lowering from IR graphs, sessions that run them, and whole models as files.

pub mod builder;
pub mod lower;
pub mod program;
pub mod proto;
pub mod session;
pub mod whole;
