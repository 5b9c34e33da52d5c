//! The engine under its driver and schedule against the reference backend, and against itself: every hook read and set,
//! bits that nothing else may change, what runs and what does not, and what happens when something fails.

#[path = "engine/bits.rs"]
mod bits;
#[path = "engine/extend.rs"]
mod extend;
#[path = "engine/failures.rs"]
mod failures;
#[path = "engine/hooks.rs"]
mod hooks;
#[path = "engine/liveness.rs"]
mod liveness;
#[path = "engine/programs.rs"]
mod programs;
#[path = "engine/support.rs"]
mod support;
