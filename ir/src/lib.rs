//! The language of `irc`: programs that read, change and save the activations of language models, as graphs.
pub mod attr;
pub mod code;
pub mod diagnostic;
pub mod eval;
pub mod graph;
pub mod infer;
pub mod model;
pub mod op;
pub mod plan;
pub mod tensor;
pub mod text;
pub mod types;
pub mod verify;
