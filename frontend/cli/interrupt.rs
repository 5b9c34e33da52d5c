//! Ctrl-C while a program runs.

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
    use std::{
        sync::{Arc, atomic::AtomicBool},
        thread,
    };

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
