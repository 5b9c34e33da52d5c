//! Ctrl-C while a program runs.

use std::sync::{Arc, Mutex, PoisonError};

use irc_backends::cancel::Cancel;

use super::terminal::Terminal;

/// From now on the first Ctrl-C cancels, and the second ends the process at once, as if nobody had listened.
#[cfg(unix)]
pub(super) fn cancels(cancel: &Cancel, terminal: &Terminal) {
    if let Err(error) = listen(cancel.clone(), terminal.clone()) {
        terminal.say(&format!("Ctrl-C may not end this run: {error}"));
    }
}

/// Where there are no such signals, Ctrl-C ends the process at once.
#[cfg(not(unix))]
pub(super) fn cancels(_: &Cancel, _: &Terminal) {}

#[cfg(unix)]
fn listen(cancel: Cancel, terminal: Terminal) -> std::io::Result<()> {
    use std::{sync::atomic::AtomicBool, thread};

    use signal_hook::{consts::SIGINT, flag, iterator::Signals};

    let mut signals = Signals::new([SIGINT])?;
    // In this order: the first signal finds that there was none before, and then says that there was one.
    let before = Arc::new(AtomicBool::new(false));
    flag::register_conditional_default(SIGINT, before.clone())?;
    flag::register(SIGINT, before)?;
    thread::Builder::new().name("ctrl-c".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            terminal.say("cancelling: what runs just now is still finished; Ctrl-C again ends it at once");
            cancel.cancel();
        }
    })?;
    Ok(())
}

/// What Ctrl-C ends: the answer that is being made, if there is one, else the process.
#[derive(Clone, Default)]
pub(super) struct Answer(Arc<Mutex<Option<Cancel>>>);

impl Answer {
    /// From now on Ctrl-C ends this, once.
    pub(super) fn begins(&self, cancel: &Cancel) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(cancel.clone());
    }

    /// From now on there is nothing to end.
    pub(super) fn ended(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Listens for Ctrl-C until the process ends.
    #[cfg(unix)]
    pub(super) fn listen(&self, terminal: &Terminal) {
        use signal_hook::{consts::SIGINT, iterator::Signals};

        let answer = self.clone();
        let listening = Signals::new([SIGINT]).and_then(|mut signals| {
            std::thread::Builder::new().name("ctrl-c".to_owned()).spawn(move || {
                for _ in signals.forever() {
                    match answer.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
                        Some(cancel) => cancel.cancel(),
                        // Nothing is open that would have to be closed.
                        None => std::process::exit(130),
                    }
                }
            })
        });
        if let Err(error) = listening {
            terminal.say(&format!("Ctrl-C ends the chat, not the answer: {error}"));
        }
    }

    /// Where there are no such signals, Ctrl-C ends the process at once.
    #[cfg(not(unix))]
    pub(super) fn listen(&self, _: &Terminal) {}
}
