//! Passes: pure functions from verified programs to programs and plans. No IO; nothing here fails on verified input.

mod builder;
pub mod calls;
mod canonical;
pub mod chains;
pub mod cost;
mod demand;
mod edits;
pub mod egraph;
pub mod explain;
pub mod lint;
mod maps;
mod operations;
pub mod optimize;
pub mod reduce;
pub mod rule;
pub mod schedule;
mod scope;
pub mod takes;
mod values;

pub use cost::cost;
pub use explain::explain;
pub use lint::lint;
pub use optimize::{Optimized, optimize};
pub use schedule::{Strategy, Target, schedule};

/// The rules of all passes, in the order in which the passes run.
pub fn rules() -> impl Iterator<Item = &'static rule::Rule> {
    canonical::rules().chain(demand::rules()).chain(egraph::rules())
}
