//! A run that is cancelled while the engine computes: what is asked of the engine afterwards, and what comes out of later runs.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use irc::{
    backends::{Call, Caps, Engine, Handle, LoadedModel, Outcome, cancel::Cancel, execute::Driven, host::Functions, rten::Rten},
    ir::{code::Code, diagnostic::Diagnostic, tensor::Tensor},
};

use crate::support::{Dice, Program, ids, llama, same_bits};

/// What happens to the calls of an engine.
struct Calls {
    count: AtomicUsize,
    /// The call during which somebody cancels.
    fatal: AtomicUsize,
}

/// An engine that cannot be interrupted, and whose run is cancelled during a call.
struct Interrupted {
    inner: Rten,
    calls: Arc<Calls>,
}

struct InterruptedModel {
    inner: Arc<dyn LoadedModel>,
    calls: Arc<Calls>,
}

impl Engine for Interrupted {
    fn caps(&self) -> Caps {
        self.inner.caps()
    }
    fn load(&self, model: &Handle) -> Result<Arc<dyn LoadedModel>, Diagnostic> {
        Ok(Arc::new(InterruptedModel { inner: self.inner.load(model)?, calls: self.calls.clone() }))
    }
}

impl LoadedModel for InterruptedModel {
    fn run(&self, call: &Call<'_>) -> Result<Vec<Tensor>, Diagnostic> {
        if self.calls.count.fetch_add(1, Ordering::Relaxed) == self.calls.fatal.load(Ordering::Relaxed) {
            call.cancel.cancel();
        }
        self.inner.run(call)
    }
    fn numeric_class(&self) -> String {
        self.inner.numeric_class()
    }
}

#[test]
fn no_further_chunk_runs() {
    let calls = Arc::new(Calls { count: 0.into(), fatal: usize::MAX.into() });
    let engine = Driven::new(Interrupted { inner: Rten::new(Some(1)), calls: calls.clone() });
    let mut program = Program::new(llama());
    // Four chunks of each stage.
    let forward = program.forward(&ids(2, 110, &mut Dice::new(91)));
    for hook in ["model.layers.1.output", "lm_head.output"] {
        let value = program.read(forward, hook);
        program.save(hook, value);
    }
    let run = |cancel: &Cancel| -> (Result<Outcome, Diagnostic>, usize) {
        calls.count.store(0, Ordering::Relaxed);
        let result = program.run_for(&engine, &mut Functions::new(|_| {}).with_cancel(cancel));
        (result, calls.count.load(Ordering::Relaxed))
    };
    let (before, all) = run(&Cancel::new());
    let before = before.expect("it runs");
    assert!(all >= 16 && all.is_multiple_of(4), "{all}");
    for fatal in 0..all {
        calls.fatal.store(fatal, Ordering::Relaxed);
        let cancel = Cancel::new();
        let (result, count) = run(&cancel);
        assert_eq!((result.expect_err("it is cancelled").code, count), (Code::E4006, fatal + 1));
        let (result, count) = run(&cancel);
        assert_eq!((result.expect_err("it stays cancelled").code, count), (Code::E4006, 0));
        calls.fatal.store(usize::MAX, Ordering::Relaxed);
        let (after, count) = run(&Cancel::new());
        assert_eq!(count, all);
        same_bits("after a cancel", &before, &after.expect("it runs again"));
    }
}

/// An engine whose user gives up while it loads, and which then fails.
struct Unready(Cancel);

impl Engine for Unready {
    fn caps(&self) -> Caps {
        Rten::new(Some(1)).caps()
    }
    fn load(&self, _: &Handle) -> Result<Arc<dyn LoadedModel>, Diagnostic> {
        self.0.cancel();
        Err(Diagnostic::error(Code::E4003, "it is not ready"))
    }
}

#[test]
fn it_counts_more_than_what_went_wrong() {
    let cancel = Cancel::new();
    let engine = Driven::new(Unready(cancel.clone()));
    let mut program = Program::new(llama());
    let forward = program.forward(&ids(1, 2, &mut Dice::new(92)));
    let logits = program.read(forward, "lm_head.output");
    program.save("logits", logits);
    let result = program.run_for(&engine, &mut Functions::new(|_| {}).with_cancel(&cancel));
    assert_eq!(result.expect_err("it is cancelled").code, Code::E4006);
}
