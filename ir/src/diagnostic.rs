//! What is wrong, where, and what to do: errors in the manner of rustc.
//!
//! A [`Diagnostic`] is plain data. [`Diagnostic::render`] sets it in the source text that it speaks of:
//!
//! ```
//! use irc_ir::{code::Code, diagnostic::{Diagnostic, Source, Span}};
//! let source = Source::new("patch.ig", "%h = raed(%f)");
//! let error = Diagnostic::error(Code::E0004, "there is no operation `raed`")
//!     .label(Span::text(5, 9), "not an operation")
//!     .help("did you mean `read`?");
//! let text = error.render(&source, false);
//! assert!(text.starts_with("error[E0004]: there is no operation `raed`"));
//! assert!(text.contains("patch.ig:1:6"));
//! ```

use std::{fmt, panic::Location, sync::Arc};

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet, renderer::DecorStyle};

use crate::code::Code;

/// A place that a diagnostic can point at.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Span {
    /// No place is known.
    #[default]
    None,
    /// Bytes `start..end` of the program's text.
    Text {
        /// First byte.
        start: u32,
        /// One past the last byte.
        end: u32,
    },
    /// A line of a Rust program that used the tracing API.
    Code(&'static Location<'static>),
    /// A field of a file that is not the program: a model file, the cache.
    File(Arc<FileField>),
}

/// A field of a file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileField {
    /// The file.
    pub path: Arc<str>,
    /// The field, tensor or offset inside it; empty when the file as a whole is meant.
    pub field: Arc<str>,
}

impl Span {
    /// Bytes `start..end` of the program's text.
    pub fn text(start: usize, end: usize) -> Span {
        let clamp = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Span::Text { start: clamp(start), end: clamp(end) }
    }

    /// A field of a file that is not the program.
    pub fn file(path: &std::path::Path, field: impl Into<Arc<str>>) -> Span {
        Span::File(Arc::new(FileField { path: path.display().to_string().into(), field: field.into() }))
    }
}

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// The program cannot be run.
    Error,
    /// The program runs, but probably does not do what was meant.
    Warning,
}

/// A place and what is to be said of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What; may be empty.
    pub text: String,
}

/// One problem: a code, a message, places, and remedies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The kind of problem.
    pub code: Code,
    /// The problem in one line, without a final full stop.
    pub message: String,
    /// The first label is the primary place.
    pub labels: Vec<Label>,
    /// Facts that explain the problem.
    pub notes: Vec<String>,
    /// What to do.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// An error without places yet.
    pub fn error(code: Code, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Error, code, message: message.into(), labels: vec![], notes: vec![], help: vec![] }
    }

    /// Adds a place; the first one added is the primary place.
    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Adds a primary place unless the diagnostic already has one that is known.
    #[must_use]
    pub fn or_label(mut self, span: &Span) -> Diagnostic {
        if self.labels.iter().all(|label| label.span == Span::None) {
            self.labels.insert(0, Label { span: span.clone(), text: String::new() });
        }
        self
    }

    /// Adds a fact that explains the problem.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Diagnostic {
        self.notes.push(text.into());
        self
    }

    /// Adds a remedy.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Diagnostic {
        self.help.push(text.into());
        self
    }

    /// Adds the names nearest to `wrong` among `names` as a remedy, where some are near.
    #[must_use]
    pub fn suggest<'a>(self, wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Diagnostic {
        let near = nearest(wrong, names);
        if near.is_empty() {
            return self;
        }
        let list = near.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        self.help(format!("did you mean {list}?"))
    }

    /// The diagnostic as text, with the lines of `source` that it speaks of. `color` adds terminal colours.
    pub fn render(&self, source: &Source, color: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group =
            level.primary_title(&*self.message).id(self.code.name()).elements(Vec::<Snippet<'_, annotate_snippets::Annotation<'_>>>::new());
        let in_text: Vec<_> = self
            .labels
            .iter()
            .enumerate()
            .filter_map(|(at, label)| match label.span {
                Span::Text { start, end } => Some((at, source.clamp(start, end), &label.text)),
                _ => None,
            })
            .collect();
        if !in_text.is_empty() {
            let snippet = Snippet::source(&*source.text).path(&*source.name).annotations(in_text.into_iter().map(|(at, range, text)| {
                let kind = if at == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
                kind.span(range).label((!text.is_empty()).then_some(&**text))
            }));
            group = group.element(snippet);
        }
        for label in &self.labels {
            match &label.span {
                Span::Code(place) => {
                    let origin = Origin::path(place.file()).line(place.line() as usize).char_column(place.column() as usize);
                    group = group.element(origin);
                }
                Span::File(of) => {
                    let FileField { path, field } = &**of;
                    let origin = if field.is_empty() { path.to_string() } else { format!("{path}: {field}") };
                    group = group.element(Origin::path(origin));
                }
                Span::None | Span::Text { .. } => continue,
            }
            if !label.text.is_empty() {
                group = group.element(Level::NOTE.message(&*label.text));
            }
        }
        let notes = self.notes.iter().map(|text| Level::NOTE.message(&**text));
        let help = self.help.iter().map(|text| Level::HELP.message(&**text));
        let report = [group.elements(notes).elements(help)];
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.decor_style(DecorStyle::Ascii).render(&report)
    }
}

/// One line, without source text: for logs and for `Box<dyn Error>`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.code.name(), self.message)?;
        match self.labels.first().map(|label| &label.span) {
            Some(Span::Code(place)) => write!(out, " (at {place})"),
            Some(Span::File(of)) if of.field.is_empty() => write!(out, " (in {})", of.path),
            Some(Span::File(of)) => write!(out, " (in {}: {})", of.path, of.field),
            Some(Span::Text { .. } | Span::None) | None => Ok(()),
        }?;
        self.help.iter().try_for_each(|text| write!(out, "; {text}"))
    }
}

impl std::error::Error for Diagnostic {}

/// All the problems of one check, in the order of the program.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Whether at least one of them forbids running the program.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Puts them in the order of the program's text; what is not about a place in it comes first.
    pub fn sort(&mut self) {
        self.0.sort_by_key(|diagnostic| match diagnostic.labels.first().map(|label| &label.span) {
            Some(Span::Text { start, .. }) => *start,
            _ => 0,
        });
    }

    /// All of them as text, an empty line between them.
    pub fn render(&self, source: &Source, color: bool) -> String {
        self.0.iter().map(|diagnostic| diagnostic.render(source, color)).collect::<Vec<_>>().join("\n\n")
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Diagnostics {
        Diagnostics(vec![diagnostic])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, diagnostic) in self.0.iter().enumerate() {
            if at > 0 {
                writeln!(out)?;
            }
            write!(out, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// The text that a program was read from, with the name to show for it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Source {
    /// A path, or what stands for one.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// A text with the name to show for it.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Source {
        Source { name: name.into(), text: text.into() }
    }

    /// The bytes `start..end`, moved to the nearest character boundaries inside the text.
    fn clamp(&self, start: u32, end: u32) -> std::ops::Range<usize> {
        let floor = |at: u32| (0..=(at as usize).min(self.text.len())).rev().find(|&at| self.text.is_char_boundary(at)).unwrap_or(0);
        floor(start)..floor(end).max(floor(start))
    }
}

/// Up to three of `names` that are near enough to `wrong` to be what was meant, the nearest first.
///
/// Near means an edit distance (insertions, deletions, replacements, swaps of neighbours) of at most a third of the
/// length; among equals, the order of `names` decides.
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let limit = (wrong.chars().count() / 3).max(2);
    let mut near: Vec<(usize, &str)> =
        names.into_iter().map(|name| (edit_distance(wrong, name, limit), name)).filter(|(distance, _)| *distance <= limit).collect();
    near.sort_by_key(|(distance, _)| *distance);
    near.into_iter().map(|(_, name)| name).take(3).collect()
}

/// Optimal string alignment distance; anything above `limit` may be reported as `limit + 1`.
fn edit_distance(a: &str, b: &str, limit: usize) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > limit {
        return limit + 1;
    }
    let mut rows = [vec![0; b.len() + 1], (0..=b.len()).collect::<Vec<_>>(), vec![0; b.len() + 1]];
    for i in 1..=a.len() {
        let [before, last, row] = &mut rows;
        row[0] = i;
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        rows.rotate_left(1);
    }
    rows[1][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names() {
        let names = ["model.layers.0.mlp.output", "model.layers.1.mlp.output", "lm_head.output"];
        assert_eq!(nearest("model.layers.1.mpl.output", names)[0], "model.layers.1.mlp.output");
        assert_eq!(nearest("lm_head.ouptut", names), ["lm_head.output"]);
        assert!(nearest("something else", names).is_empty());
    }

    #[test]
    fn places_without_text() {
        let error = Diagnostic::error(Code::E0011, "the tensor table is cut short").label(Span::file("m.gguf".as_ref(), "tensor 3"), "");
        let text = error.render(&Source::default(), false);
        assert!(text.contains("--> m.gguf: tensor 3"), "{text}");
        assert!(error.to_string().ends_with("(in m.gguf: tensor 3)"));
    }
}
