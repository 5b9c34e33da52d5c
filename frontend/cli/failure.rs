//! How a command ends when it does not succeed, and the exit status that follows from it.

use std::io;

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Diagnostics, Severity, Source, Span},
};
use serde_json::{Value as Json, json};

use super::terminal::Terminal;

/// What a command returns: results have been printed by then.
pub(super) type Outcome<T = ()> = Result<T, Failure>;

/// Why a command did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Something is wrong; the source is the text that the diagnostics speak of.
    Diagnostics(Diagnostics, Source),
    /// Nobody reads standard output any more, as when `head` has seen enough. Nothing is wrong.
    Closed,
}

impl Failure {
    /// Problems of a program that was read from a text.
    pub(super) fn in_source(diagnostics: impl Into<Diagnostics>, source: &Source) -> Failure {
        Failure::Diagnostics(diagnostics.into(), source.clone())
    }

    /// Says what is wrong; returns the exit status.
    pub(super) fn report(&self, terminal: &Terminal, json: bool) -> u8 {
        let Failure::Diagnostics(diagnostics, source) = self else { return 0 };
        let status = status_of(diagnostics);
        terminal.say(&diagnostics.render(source, terminal.color_err));
        if json {
            // The status says it already, should nobody be there to read this.
            let _ = terminal.print_json(&json!({ "ok": false, "status": status, "diagnostics": to_json(diagnostics, source) }));
        }
        status
    }
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Failure {
        Failure::Diagnostics(diagnostic.into(), Source::default())
    }
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Failure {
        Failure::Diagnostics(diagnostics, Source::default())
    }
}

/// Standard output could not be written.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Diagnostic::error(Code::E0010, format!("the results cannot be written: {error}")).into(),
        }
    }
}

/// The exit status of problems of this kind.
pub(super) fn status(code: Code) -> u8 {
    use Code::*;
    match code {
        E0001 | E0002 | E0003 | E0004 | E0005 | E0006 => 1,
        E1001 | E1002 | E1003 | E1004 | E1005 | E1006 | E1007 | E1008 => 1,
        E2001 | E2002 | E2003 | E2004 | E2005 | E2006 | E2007 | E2008 | E2009 | E2010 => 1,
        E3001 | E3002 | E3003 | E3004 | E3005 | E3006 | E3007 | E3008 | E3009 | E3010 | E4001 => 1,
        E4004 | E4005 => 2,
        E0010 | E0011 | E0012 | E0013 | E0014 | E0015 | E0016 | E4002 => 3,
        E4003 => 4,
        // What shells say of a command that Ctrl-C ended.
        E4006 => 130,
        W0001 | W0002 | W0003 | W0004 => 0,
    }
}

/// Of several problems the one that the user can best do something about counts: first the program, last the run.
pub(super) fn status_of(diagnostics: &Diagnostics) -> u8 {
    let errors = diagnostics.0.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    errors.map(|diagnostic| status(diagnostic.code)).min().unwrap_or(0)
}

/// Diagnostics as JSON: `{code, severity, message, labels: [{span, text}], notes, help}`.
pub(super) fn to_json(diagnostics: &Diagnostics, source: &Source) -> Json {
    let one = |diagnostic: &Diagnostic| {
        let labels: Vec<Json> =
            diagnostic.labels.iter().map(|label| json!({ "span": span_json(&label.span, source), "text": label.text })).collect();
        let severity = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        json!({
            "code": diagnostic.code.name(),
            "severity": severity,
            "message": diagnostic.message,
            "labels": labels,
            "notes": diagnostic.notes,
            "help": diagnostic.help,
        })
    };
    diagnostics.0.iter().map(one).collect()
}

/// A place as JSON: `{start, end, line, column}` in the program's text (bytes from 0; line and column from 1, columns in
/// characters), `{file, field}` in another file, or null.
pub(super) fn span_json(span: &Span, source: &Source) -> Json {
    match span {
        Span::None => Json::Null,
        Span::Text { start, end } => {
            let before = source.text.as_bytes().get(..*start as usize).map(String::from_utf8_lossy).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
            json!({ "start": start, "end": end, "line": line, "column": column })
        }
        Span::Code(place) => json!({ "file": place.file(), "line": place.line(), "column": place.column() }),
        Span::File(of) => json!({ "file": &*of.path, "field": &*of.field }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_counts_before_the_environment() {
        let of = |codes: &[Code]| status_of(&Diagnostics(codes.iter().map(|code| Diagnostic::error(*code, "")).collect()));
        assert_eq!(of(&[Code::E4002, Code::E0001]), 1);
        assert_eq!(of(&[Code::E4002]), 3);
        assert_eq!(of(&[Code::E4003]), 4);
        assert_eq!(of(&[Code::E4006]), 130);
        assert_eq!(of(&[]), 0);
    }

    #[test]
    fn places_count_from_one() {
        let source = Source::new("x", "é\nab");
        assert_eq!(span_json(&Span::text(4, 5), &source), json!({ "start": 4, "end": 5, "line": 2, "column": 2 }));
    }
}
