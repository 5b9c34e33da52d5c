//! The progress of fetching, converting and checking models: bars on a terminal, a line for each stage elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use super::terminal::Terminal;
use crate::models::cache::{Progress, Stage};

/// Shows progress on standard error.
pub(super) struct ProgressDisplay<'a> {
    terminal: &'a Terminal,
    bars: bool,
    now: Option<(Stage, ProgressBar)>,
}

impl<'a> ProgressDisplay<'a> {
    pub(super) fn new(terminal: &'a Terminal) -> ProgressDisplay<'a> {
        ProgressDisplay { terminal, bars: std::io::stderr().is_terminal(), now: None }
    }

    /// Shows how far the work is.
    pub(super) fn show(&mut self, progress: Progress) {
        let Progress { stage, done, total } = progress;
        let same = self.now.as_ref().is_some_and(|(shown, _)| *shown == stage);
        if !same {
            self.finish();
            if !self.bars {
                self.terminal.say(&format!(
                    "{}{}",
                    stage.label(),
                    if total > 0 { format!(" ({})", super::terminal::bytes(total)) } else { String::new() }
                ));
            }
            self.now = Some((stage, self.bar(stage, total)));
        }
        if let Some((_, bar)) = &self.now {
            if bar.length() != Some(total) && total > 0 {
                bar.set_length(total);
            }
            bar.set_position(done);
        }
    }

    fn bar(&self, stage: Stage, total: u64) -> ProgressBar {
        if !self.bars {
            return ProgressBar::hidden();
        }
        let (bar, template) = match total {
            0 => (ProgressBar::new_spinner(), "{spinner} {msg}"),
            _ => (ProgressBar::new(total), "{msg:18} {bar:30} {decimal_bytes:>9} of {decimal_total_bytes}"),
        };
        // The templates are constants; should one be wrong, the default is good enough.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let style =
            if self.terminal.unicode { style.progress_chars("━╸─") } else { style.progress_chars("#>-").tick_chars("|/-\\ ") };
        bar.set_style(style);
        bar.set_message(stage.label());
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        bar
    }

    fn finish(&mut self) {
        if let Some((_, bar)) = self.now.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for ProgressDisplay<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}
