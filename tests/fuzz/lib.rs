//! What the fuzzers call, which is also what `tests/hostile.rs` calls in its bounded runs.

#[path = "../hostile/targets.rs"]
pub mod targets;
