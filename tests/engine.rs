//! The engine under its driver and schedule against the reference backend, and against itself, beyond what the conformance
//! suite asks of every engine: programs of people, threads, what runs and what does not, engines that break their word.

#[path = "engine/bits.rs"]
mod bits;
#[path = "engine/cancel.rs"]
mod cancel;
#[path = "engine/chains.rs"]
mod chains;
#[path = "engine/edits.rs"]
mod edits;
#[path = "engine/extend.rs"]
mod extend;
#[path = "engine/failures.rs"]
mod failures;
#[path = "engine/hooks.rs"]
mod hooks;
#[path = "engine/liveness.rs"]
mod liveness;
#[path = "engine/patches.rs"]
mod patches;
#[path = "engine/programs.rs"]
mod programs;
#[path = "engine/sessions.rs"]
mod sessions;
#[path = "engine/support.rs"]
mod support;
