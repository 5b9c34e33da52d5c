//! ONNX: the protobuf messages, the one lowering from IR graphs, sessions that run them, and whole models as files.

pub mod lower;
pub mod proto;
pub mod session;
pub mod whole;
