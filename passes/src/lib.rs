//! Passes: pure functions from verified programs to programs and plans. No IO; nothing here fails on verified input.

pub mod calls;
pub mod cost;
mod edits;
pub mod egraph;
pub mod explain;
pub mod lint;
pub mod reduce;
pub mod rule;
pub mod schedule;
pub mod takes;
mod values;

pub use cost::cost;
pub use explain::explain;
pub use lint::lint;
pub use schedule::{Strategy, Target, schedule};
