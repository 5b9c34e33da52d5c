//! ONNX: the protobuf messages, the one lowering from IR graphs, and sessions that run them.

pub mod lower;
pub mod proto;
pub mod session;
