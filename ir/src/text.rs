//! The text form of graphs: one syntax for dumps, tests, diagnostics and programs written by hand.
//!
//! ```
//! # use irc_ir::text;
//! let program = r#"
//! graph @patch models { m: "smollm2" } {
//!   %a = forward("The Eiffel Tower is in the city of") {model: m}
//!   %h = read(%a) {hook: "model.layers.29.output"}            : tensor<1x9x576xf32>
//!   %x = slice(%h) {dim: 1, start: -1}
//!   %b = forward([[1, 2, 3]]) {model: m}
//!   %r = read(%b) {hook: "model.layers.1.output"}
//!   %w = write(%b, update(%r, %x) {dim: 1, start: -1}) {hook: "model.layers.1.output"}
//!   log "the norm", sqrt(sum(mul(%x, %x)))     // a log with a label; without one: log %x
//!   save argmax(read(%w) {hook: "lm_head.output"}) {dim: -1} as "t2"
//! }
//! "#;
//! let graph = text::parse(program).into_result()?;
//! assert_eq!((graph.len(), graph.effects.len()), (14, 2));
//!
//! // What is printed reads back as the same graph.
//! let printed = text::print(&graph, None);
//! assert!(printed.contains(r#"%a = forward("The Eiffel Tower is in the city of") {model: m}"#));
//! assert_eq!(text::parse(&printed).into_result()?, graph);
//! # Ok::<(), irc_ir::diagnostic::Diagnostics>(())
//! ```
//!
//! # Loops and effects
//!
//! ```
//! # use irc_ir::{graph::EffectKind, text};
//! let program = r#"
//! graph @generate models { m: "induction" } {
//!   %f = forward([[0, 2, 3, 2]]) {model: m}
//!   %t = argmax(slice(read(%f) {hook: "lm_head.output"}) {dim: 1, start: -1}) {dim: -1}
//!   %r = loop(%f, %t) {trip: 8} (%i, %f: forward<m, 1xT after P>, %t) {
//!     %g = extend(%f, %t)
//!     %n = argmax(read(%g) {hook: "lm_head.output"}) {dim: -1}
//!     until eq(%n, 0)                                      // this iteration is the last
//!     yield %g, %n                                         // what the next iteration begins with
//!   }
//!   %last = get(%r) {index: 1}
//!   %s = do call(%last) {name: "score", returns: tensor<f32>}
//!   %odd = gt(%s, 0.5)
//!   do loop(%last) {trip: 3} (%i, %last) {
//!     log "again", %last
//!   } if %odd
//!   stop "the score is too high" if %odd
//!   save %last as "last"
//! }
//! "#;
//! let graph = text::parse(program).into_result()?;
//! assert_eq!(graph.effects.len(), 4);
//! assert!(matches!(graph.effects[1].kind, EffectKind::Loop { trip: 3, .. }));
//! assert_eq!(text::parse(&text::print(&graph, None)).into_result()?, graph);
//! # Ok::<(), irc_ir::diagnostic::Diagnostics>(())
//! ```
//!
//! # Grammar
//!
//! Spaces and line breaks separate words and mean nothing else; `//` begins a comment. Lists may end in a comma.
//!
//! ```text
//! file      = "graph" "@" name [ "models" "{" [ model { "," model } ] "}" ] "{" { statement } "}"
//! model     = name ":" string
//! statement = value "=" ( call | literal | doing ) [ ":" type ]
//!           | "save" operand "as" string [ guard ]
//!           | "log" [ string "," ] operand [ guard ]
//!           | "stop" [ string ] [ guard ]
//!           | doing
//! doing     = "do" call [ guard ]                                            where the call is of `call` or `loop`
//! guard     = "if" operand [ "else" operand ]
//! operand   = value | call | literal
//! call      = operation [ "(" [ operand { "," operand } ] ")" ] [ "{" [ attribute { "," attribute } ] "}" ] [ body ]
//! body      = "(" value [ ":" type ] { "," value [ ":" type ] } ")"           of `loop`, and of nothing else
//!             "{" { statement } [ "until" operand ] [ "yield" [ operand { "," operand } ] ] "}"
//! attribute = identifier ":" ( integer | "none" | "true" | "false" | element | name | dtype
//!                            | "[" [ integer { "," integer } ] "]" | "[" [ sum { "," sum } ] "]" | literal )
//! value     = "%" ( identifier | digits | string )
//! name      = identifier | string
//!
//! literal   = string | element | list | dtype "(" element ")" | dtype list | tensor "(" [ element { "," element } ] ")"
//! list      = "[" [ ( element | list ) { "," ( element | list ) } ] "]"
//! element   = integer | float | "inf" | "-inf" | "nan" | "nan" "(" "0x" hex digits ")" | "true" | "false"
//!
//! type      = tensor | "(" [ type { "," type } ] ")" | "list" "<" type ">" | "str" | "opaque"
//!           | "forward" "<" name "," size "x" size [ "after" size ] ">"
//! tensor    = "tensor" "<" { size "x" } dtype ">"
//! size      = digits | symbol | "(" sum ")"
//! sum       = [ "-" ] product { ( "+" | "-" ) product }
//! product   = ( digits | symbol ) { "*" ( digits | symbol ) }
//! symbol    = an upper-case letter, then upper-case letters, digits and "_"
//! dtype     = "f64" | "f32" | "f16" | "bf16" | "i64" | "i32" | "u8" | "bool"
//! string    = '"' characters, or \n \r \t \0 \" \\ \u{hex digits} '"'     on one line
//! ```
//!
//! **Order.** Every call is one node, every operand that is a call or a literal is a node too, and stands before the
//! node that uses it, from left to right.
//!
//! **Literals** are `const` nodes: `2` is short for `const {value: 2}`. Without an element type, whole numbers are i64,
//! numbers of which one is a float are f32, `true` and `false` are bool; an element type before them changes that:
//! `f16(1.5)`, `u8[[1, 2], [3, 4]]`. An empty list needs one: `i64[]`. What nested lists cannot say is written flat,
//! after its type: `tensor<0x3xf32>()`. `nan(0x7fc00001)` is the NaN of these bits; `nan` is the usual quiet one.
//!
//! **Bodies.** The names in front of a body are its parameters: the number of the iteration, then one for each operand of the
//! loop. A body sees nothing else, so its names can be those outside. `yield` gives what the first of the operands are in the
//! next iteration and, after the last one, the parts of the loop's value; `until` says which iteration is the last. A type
//! after a parameter has symbols for the sizes that change. A loop without `do` has no effects in its body, and must yield.
//!
//! **Effects** happen in the order of the text. `do` before `call` or `loop` makes it one of them. `%x = do …` names the
//! result of an effect; one that may not happen, because of `if`, has another value `else`.
//!
//! **Names.** Values are named once, above their uses. Names that are numbers are not kept: they are how values without
//! a name are printed. What is not an identifier is quoted: `%"layer 5"`, `@"model.layers.5"`.
//!
//! **Limits.** A text has at most 256 MiB, nesting at most 200 levels, of loops 16, a size at most 2^40. Reading stops after 100
//! mistakes.

mod call;
mod effect;
mod lex;
mod literal;
mod names;
mod parse;
mod print;
mod shape;

pub(crate) use print::nested_lists;

use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    graph::Graph,
    op::Op,
    verify::Types,
};

/// What was read from a text: the graph as far as it could be understood, and what is wrong.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The graph. Statements with mistakes, and what uses their values, are missing from it.
    pub graph: Graph,
    /// The mistakes, in the order in which they were found; empty if the graph is what the text says.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// The graph, if nothing is wrong.
    ///
    /// # Errors
    /// The mistakes in the text.
    pub fn into_result(self) -> Result<Graph, Diagnostics> {
        let wrong = self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
        if wrong { Err(Diagnostics(self.diagnostics)) } else { Ok(self.graph) }
    }
}

/// Reads a graph. Spans of the graph and of the diagnostics are bytes of `text`.
pub fn parse(text: &str) -> Parsed {
    parse::parse(text)
}

/// How a graph is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Style {
    /// Whether constants that are used once stand where they are used, if they are short and the graph stays the same.
    pub inline: bool,
    /// Whether types stand in a column.
    pub align: bool,
}

impl Default for Style {
    fn default() -> Style {
        Style { inline: true, align: true }
    }
}

/// Prints a graph, one node or effect a line. Types are those given, or else those that the program claims.
///
/// Parsing the result gives an equal graph with the same value names, provided that symbols of sizes are upper-case,
/// no size is beyond the limit, and effects have as many operands as their kinds need, all of them in the graph.
pub fn print(graph: &Graph, types: Option<&Types>) -> String {
    print_with(graph, types, Style::default())
}

/// Prints one operation with its attributes, on operands that are text already: `slice(%x) {dim: 1, start: -1}`.
pub fn print_op(op: &Op, operands: &[String]) -> String {
    print::operation(op, operands)
}

/// Prints a graph in a given style; see [`print()`].
pub fn print_with(graph: &Graph, types: Option<&Types>, style: Style) -> String {
    print::print(graph, types, style)
}
