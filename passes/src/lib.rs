//! Passes: pure functions from verified programs to programs and plans. No IO; nothing here fails on verified input.

mod edits;
pub mod rule;
pub mod schedule;
mod values;

pub use schedule::{Strategy, Target, schedule};
