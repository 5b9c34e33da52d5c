//! Passes: pure functions from verified programs to programs and plans. No IO; nothing here fails on verified input.

pub mod calls;
pub mod cost;
mod builder;
mod canonical;
mod demand;
mod edits;
mod operations;
pub mod optimize;
pub mod rule;
pub mod schedule;
pub mod takes;
mod scope;
mod values;

pub use cost::cost;
pub use optimize::{Optimized, optimize};
pub use schedule::{Strategy, Target, schedule};

/// The rules of all passes, in the order in which the passes run.
pub fn rules() -> impl Iterator<Item = &'static rule::Rule> {
    canonical::rules().chain(demand::rules())
}
