//! The binary form of graphs (`.igb`): the same program as in the text form, as CBOR (RFC 8949).
//!
//! ```
//! use irc_ir::{cbor, text};
//!
//! let graph = text::parse(r#"graph @double { save mul([1.0, 2.0], 2.0) as "x" }"#).into_result()?;
//! let bytes = cbor::encode(&graph);
//! assert!(cbor::is_cbor(&bytes));
//! assert_eq!(cbor::decode(&bytes)?, graph);
//! # Ok::<(), irc_ir::diagnostic::Diagnostics>(())
//! ```
//!
//! Any graph of at most a million nodes reads back equal, with its value names and the types that it claims; places in a
//! text are left out, since they mean nothing without it. Equal graphs with equal names and claims have equal bytes.
//!
//! # Format
//!
//! In CDDL (RFC 8610). Operations, attributes and their defaults are those of the table in [`crate::op`]; attributes with
//! their default values are left out, and so are empty lists and keys without a value.
//!
//! ```text
//! file    = #6.55799([ "irc.graph", version: uint, least: uint, graph ])
//! graph   = { ? "name": tstr, ? "models": [* [name: tstr, reference: tstr]], ? "nodes": [* node], ? "effects": [* effect],
//!             ? "results": [* id], ? "until": id, ? "labels": [* [id, tstr]], ? "types": [* [id, type]] }
//! node    = [ operation: tstr, [* id], ? { + attribute: tstr => value } ]          ; operands before users
//! effect  = [ "save", [* id], { "name": tstr, ? guard } ]   / [ "log", [* id], ? { ? "label": tstr, ? guard } ]
//!         / [ "call", [* id], { "name": tstr, "returns": type, ? guard } ]
//!         / [ "loop", [* id], { "trip": int, "body": graph, ? guard } ]
//!         / [ "stop", [* id], ? { ? "reason": tstr, ? guard } ]
//! guard   = ( "guard": [ condition: id, ? otherwise: id ] )
//! id      = uint                                                                   ; the number of a node before
//! value   = int / float / bool / null / tstr / dtype / type / [* int] / [* size] / literal / graph / reduction
//! reduction = "none" / "mean" / "sum" / "batchmean"
//! literal = tstr / [ dtype, [* uint], bstr ]                                       ; elements little-endian, row-major
//! type    = "str" / "opaque" / [ "tensor", dtype, * size ] / [ "tuple", * type ] / [ "list", type ]
//!         / [ "forward", model: tstr, batch: size, tokens: size, past: size ]
//! size    = int / [* [ factor: int, * symbol: tstr ]]                              ; a sum of products
//! dtype   = "f64" / "f32" / "f16" / "bf16" / "i64" / "i32" / "u8" / "bool"
//! ```
//!
//! All lengths are definite. `version` is that of the writer, `least` the oldest reader that understands the file: a reader
//! of that version or a later one skips keys of `graph` that it does not know, if the file is newer than itself.
//!
//! # Limits
//!
//! What is read is bounded by the length of the input and by [`Limits`], never by a length that the input claims. Loops
//! are nested at most [`MAX_LOOP_NESTING`](crate::graph::MAX_LOOP_NESTING) deep, types at most 200. Symbols and sizes are
//! those that the text form has, so that what is read can be printed.

mod read;
mod write;

use crate::{diagnostic::Diagnostic, graph::Graph, verify::Limits};

/// The first item of a file, after the tag that says "this is CBOR".
const FORMAT: &str = "irc.graph";

/// The version that is written.
pub const VERSION: u64 = 1;

/// The oldest reader that understands what is written.
const LEAST: u64 = 1;

/// The tag of self-described CBOR.
const SELF_DESCRIBED: u64 = 55799;

/// How deep types can be nested, as in the text form.
const MAX_TYPE_NESTING: usize = 200;

/// Whether these bytes are meant as CBOR: they begin with its tag, which no text begins with.
pub fn is_cbor(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xd9, 0xd9, 0xf7])
}

/// The graph as bytes; the same bytes each time.
pub fn encode(graph: &Graph) -> Vec<u8> {
    write::file(graph)
}

/// The graph that these bytes stand for.
///
/// # Errors
/// E0014 if they are of a newer format, E0015 if they are damaged or nothing of ours, E0004 and E0005 if they use an operation
/// or an attribute that is not in the table, E3007 if the body of a loop is none, E4001 if the graph is too large.
pub fn decode(bytes: &[u8]) -> Result<Graph, Diagnostic> {
    decode_within(bytes, Limits::default())
}

/// [`decode`] with limits of one's own.
///
/// # Errors
/// As [`decode`].
pub fn decode_within(bytes: &[u8], limits: Limits) -> Result<Graph, Diagnostic> {
    read::file(bytes, limits)
}
