//! Ends a run before its end.
//!
//! Whoever starts a run keeps a [`Cancel`] and gives the run a clone of it, by way of its [`Host`](crate::host::Host). The
//! driver looks at it before each step and between the chunks of a stage, attention before each block of rows, the reference
//! backend before each operation. An engine that can be interrupted while it computes is told at once ([`Cancel::on_cancel`]):
//! ONNX Runtime ends after the operation that it is in. `rten` cannot be, and finishes the call that it is in, which is at most
//! one chunk of one stage. Nor are functions of the user's interrupted, nor a model that is being loaded.
//!
//! What was cancelled leaves nothing behind: the next run on the same backend has the bits that it would have had.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use irc_ir::{code::Code, diagnostic::Diagnostic};

/// Tells runs to end, from any thread. Clones are the same; what is cancelled stays cancelled.
///
/// ```
/// use irc_backends::cancel::Cancel;
///
/// let cancel = Cancel::new();
/// let other = cancel.clone();
/// std::thread::spawn(move || other.cancel()).join().unwrap();
/// assert!(cancel.is_cancelled());
/// assert_eq!(cancel.check().unwrap_err().code.name(), "E4006");
/// ```
#[derive(Clone, Default)]
pub struct Cancel(Arc<State>);

#[derive(Default)]
struct State {
    cancelled: AtomicBool,
    /// Who wants to be told, by number.
    watchers: Mutex<BTreeMap<u64, Box<dyn Fn() + Send>>>,
}

impl Cancel {
    /// One that is not cancelled.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Ends the runs that have it, now and in future. Returns as soon as all who want to be told are, not when the runs have
    /// ended.
    pub fn cancel(&self) {
        // Before the lock is taken: who is not yet in the list looks at it under the lock.
        if !self.0.cancelled.swap(true, Ordering::AcqRel) {
            self.watchers().values().for_each(|tell| tell());
        }
    }

    /// Whether somebody has cancelled it.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// Goes on only if nobody has cancelled it.
    ///
    /// # Errors
    /// E4006 if somebody has.
    pub fn check(&self) -> Result<(), Diagnostic> {
        match self.is_cancelled() {
            false => Ok(()),
            true => Err(Diagnostic::error(Code::E4006, "the run was cancelled")),
        }
    }

    /// Does a whole run: not at all if it is cancelled before, and what counts afterwards is that it was cancelled, whatever else
    /// went wrong, since what was interrupted may say so in its own way.
    pub(crate) fn over<T>(&self, run: impl FnOnce() -> Result<T, Diagnostic>) -> Result<T, Diagnostic> {
        self.check()?;
        let result = run();
        self.check()?;
        result
    }

    /// Has `tell` called when it is cancelled, by the thread that cancels; here and now if it is already. Not after what is
    /// returned was dropped. `tell` must be quick, and must neither cancel nor drop what is returned.
    #[must_use = "nobody is told after this was dropped"]
    pub fn on_cancel(&self, tell: impl Fn() + Send + 'static) -> Watch {
        let mut watchers = self.watchers();
        let number = watchers.last_key_value().map_or(0, |(last, _)| last + 1);
        match self.is_cancelled() {
            true => tell(),
            false => drop(watchers.insert(number, Box::new(tell))),
        }
        Watch { cancel: self.clone(), number }
    }

    fn watchers(&self) -> MutexGuard<'_, BTreeMap<u64, Box<dyn Fn() + Send>>> {
        self.0.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Cancel").field(&self.is_cancelled()).finish()
    }
}

/// For as long as it is kept, somebody is told of a cancel; see [`Cancel::on_cancel`].
#[derive(Debug)]
pub struct Watch {
    cancel: Cancel,
    number: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.cancel.watchers().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, thread};

    use super::*;

    #[test]
    fn who_watches_is_told_once_and_not_after() {
        let cancel = Cancel::new();
        let told = Arc::new([0, 1, 2].map(|_| AtomicUsize::new(0)));
        let watch = |at: usize| {
            let told = told.clone();
            cancel.on_cancel(move || {
                told[at].fetch_add(1, Ordering::Relaxed);
            })
        };
        let early = watch(0);
        let kept = watch(1);
        drop(early);
        cancel.cancel();
        cancel.clone().cancel();
        let late = watch(2);
        cancel.cancel();
        drop((kept, late));
        assert_eq!([0, 1, 2].map(|at| told[at].load(Ordering::Relaxed)), [0, 1, 1]);
        assert!(cancel.watchers().is_empty());
    }

    #[test]
    fn who_comes_at_the_same_time_is_told_once() {
        for _ in 0..300 {
            let (cancel, told) = (Cancel::new(), Arc::new(AtomicUsize::new(0)));
            let tell = told.clone();
            let watch = thread::scope(|scope| {
                scope.spawn(|| cancel.cancel());
                cancel.on_cancel(move || {
                    tell.fetch_add(1, Ordering::Relaxed);
                })
            });
            assert_eq!(told.load(Ordering::Relaxed), 1);
            drop(watch);
            assert_eq!(Arc::strong_count(&told), 1, "nothing is kept");
        }
    }
}
