//! Where output goes: standard output for results, standard error for everything else, colours only where they are seen.

use std::{
    env,
    fmt::Display,
    io::{self, IsTerminal, Write},
};

use clap::builder::styling::{AnsiColor, Style};
use serde_json::Value as Json;

use super::{args::ColorWhen, failure::Outcome};

/// What is known of the two streams.
#[derive(Clone, Debug)]
pub(super) struct Terminal {
    /// Whether standard output shows colours.
    pub(super) color_out: bool,
    /// Whether standard error shows colours.
    pub(super) color_err: bool,
    /// Whether somebody watches standard output.
    pub(super) watched: bool,
    /// Whether characters beyond ASCII can be shown.
    pub(super) unicode: bool,
}

impl Terminal {
    pub(super) fn new(color: ColorWhen) -> Terminal {
        let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let wanted = |is_terminal: bool| match color {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => is_terminal && !set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb"),
        };
        let watched = io::stdout().is_terminal();
        Terminal { color_out: wanted(watched), color_err: wanted(io::stderr().is_terminal()), watched, unicode: is_utf8() }
    }

    /// Writes a result, and a line break after it where it has none.
    pub(super) fn print(&self, text: &str) -> Outcome {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        if !text.ends_with('\n') && !text.is_empty() {
            out.write_all(b"\n")?;
        }
        Ok(out.flush()?)
    }

    /// Writes a result as it is.
    pub(super) fn print_bytes(&self, bytes: &[u8]) -> Outcome {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        Ok(out.flush()?)
    }

    /// Writes a result for programs: one object, on one line unless somebody watches.
    pub(super) fn print_json(&self, json: &Json) -> Outcome {
        self.print(&if self.watched { format!("{json:#}") } else { json.to_string() })
    }

    /// Writes a message. Where nobody can be told, nothing is said.
    pub(super) fn say(&self, message: &str) {
        let _ = writeln!(io::stderr().lock(), "{message}");
    }

    /// Text of standard output in a style.
    pub(super) fn paint(&self, style: Style, text: impl Display) -> String {
        let text = text.to_string();
        if self.color_out && !text.is_empty() { format!("{style}{text}{style:#}") } else { text }
    }

    /// What is there to be found quickly.
    pub(super) fn strong(&self, text: impl Display) -> String {
        self.paint(Style::new().bold(), text)
    }

    /// What need not be read.
    pub(super) fn dim(&self, text: impl Display) -> String {
        self.paint(Style::new().dimmed(), text)
    }

    /// What the page is about.
    pub(super) fn accent(&self, text: impl Display) -> String {
        self.paint(AnsiColor::Cyan.on_default(), text)
    }

    /// What went well.
    pub(super) fn good(&self, text: impl Display) -> String {
        self.paint(AnsiColor::Green.on_default(), text)
    }

    /// `unicode` where it can be shown, else `ascii`.
    pub(super) fn glyph<'a>(&self, unicode: &'a str, ascii: &'a str) -> &'a str {
        if self.unicode { unicode } else { ascii }
    }
}

/// Whether the locale says UTF-8, by the variables that count for characters, in their order.
fn is_utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
    locale.map_or(cfg!(any(windows, target_os = "macos")), |locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// Rows in columns, two spaces between them. The last column is not padded.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(|row| line(row) + "\n").collect()
}

/// A number of bytes for people, by powers of 1,000 as disks and downloads are sold: `538 MB`.
pub(super) fn bytes(count: u64) -> String {
    if count < 1000 { format!("{count} bytes") } else { quantity(count as f64, "B") }
}

/// A number with a metric prefix and three digits: `134.5 M`, and with a unit `538 MB`.
pub(super) fn quantity(value: f64, unit: &str) -> String {
    let (mut value, mut prefix) = (value, "");
    for next in ["k", "M", "G", "T", "P"] {
        if value.abs() < 999.95 {
            break;
        }
        (value, prefix) = (value / 1000.0, next);
    }
    let digits = if prefix.is_empty() && value.fract() == 0.0 { 0 } else { 1 };
    format!("{value:.digits$} {prefix}{unit}").trim_end().to_owned()
}

/// A time for people: `0.41 s`, `3.2 ms`.
pub(super) fn time(duration: std::time::Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds >= 100.0 => format!("{seconds:.0} s"),
        seconds if seconds >= 0.1 => format!("{seconds:.2} s"),
        seconds if seconds >= 0.001 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{:.2} ms", seconds * 1e3),
    }
}

/// A count with its noun: `1 node`, `2 nodes`.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", thousands(number), if number == 1 { "" } else { "s" })
}

/// `12,345`.
pub(super) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(bytes(12), "12 bytes");
        assert_eq!(bytes(538_090_408), "538.1 MB");
        assert_eq!(quantity(134_515_008.0, ""), "134.5 M");
        assert_eq!(quantity(999_960.0, "B"), "1.0 MB");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(count(1, "node"), "1 node");
        assert_eq!(time(Duration::from_micros(3210)), "3.2 ms");
    }

    #[test]
    fn columns_line_up() {
        let rows = [["a".into(), "b".into()], ["long".into(), "c".into()]];
        assert_eq!(columns(&rows), "a     b\nlong  c\n");
    }
}
