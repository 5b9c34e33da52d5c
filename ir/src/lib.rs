//! The language of `irc`: programs that read, change and save the activations of language models, as graphs.
//!
//! A program is read or built, checked, and then accepted by passes and backends:
//!
//! ```
//! use irc_ir::{infer::Models, text, verify::verify};
//!
//! let graph = text::parse(r#"graph @double { save mul([1.0, 2.0], 2.0) as "x" }"#).into_result()?;
//! let program = verify(graph, &Models::new())?;
//! let saved = program.graph().effects[0].operands[0];
//! assert_eq!(program.ty(saved).to_string(), "tensor<2xf32>");
//!
//! // What is wrong is said with its place and a remedy.
//! let wrong = text::parse(r#"graph @g { save matmul([[1.0]], [[1.0], [2.0]]) as "x" }"#).into_result()?;
//! assert!(verify(wrong, &Models::new()).unwrap_err().to_string().starts_with("E1003: `matmul` cannot multiply"));
//! # Ok::<(), irc_ir::diagnostic::Diagnostics>(())
//! ```
//!
//! [`op`] is the table from which the rest follows; [`infer`] has types, [`eval`] meaning, [`model`] what the compiler knows
//! of a model. No IO happens here, and nothing panics on a program that a person wrote.
pub mod attr;
pub mod canonical;
pub mod cbor;
pub mod code;
pub mod diagnostic;
pub mod eval;
pub mod graph;
pub mod infer;
pub mod model;
pub mod op;
pub mod plan;
pub mod random;
pub mod tensor;
pub mod text;
pub mod types;
pub mod verify;
