//! The names of values, as they are defined in a text.

use std::borrow::Cow;

use hashbrown::HashMap;

use super::lex::is_digits;
use crate::{diagnostic::Span, graph::NodeId};

/// What a name stands for.
#[derive(Clone, Copy)]
pub(super) struct Definition {
    /// Nothing where the definition has a mistake.
    pub(super) value: Option<NodeId>,
    /// Where the name is defined, in bytes.
    place: Option<(u32, u32)>,
}

impl Definition {
    /// A definition with the place of its name.
    pub(super) fn new(value: Option<NodeId>, span: &Span) -> Definition {
        Definition { value, place: if let Span::Text { start, end } = *span { Some((start, end)) } else { None } }
    }

    /// Where the name is defined.
    pub(super) fn span(&self) -> Span {
        self.place.map_or(Span::None, |(start, end)| Span::Text { start, end })
    }
}

/// The names of a graph with their definitions. Programs are printed with the numbers 0, 1, 2, … as most of their names: such
/// are an index, all others are looked up.
#[derive(Default)]
pub(super) struct Names<'a> {
    numbered: Vec<Definition>,
    others: HashMap<Cow<'a, str>, Definition>,
}

impl<'a> Names<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&Definition> {
        let numbered = number(name).and_then(|number| self.numbered.get(number));
        numbered.or_else(|| if self.others.is_empty() { None } else { self.others.get(name) })
    }

    /// Defines a name unless it is defined: then the definition that there is.
    pub(super) fn define(&mut self, name: Cow<'a, str>, definition: Definition) -> Result<(), Definition> {
        if let Some(earlier) = self.get(&name) {
            return Err(*earlier);
        }
        if number(&name) == Some(self.numbered.len()) {
            self.numbered.push(definition);
        } else {
            self.others.insert(name, definition);
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.numbered.len() + self.others.len()
    }

    /// The names that are no numbers, in no order.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        self.others.keys().map(|name| &**name).filter(|name| !is_digits(name))
    }
}

/// The number that a name is, if it is written as numbers are.
fn number(name: &str) -> Option<usize> {
    let canonical = is_digits(name) && name.len() <= 9 && (name == "0" || !name.starts_with('0'));
    canonical.then(|| name.bytes().fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words() {
        let mut names = Names::default();
        let all = ["0", "2", "x", "1", "01", "2", "3", "00", "x", "1", "9999999999"];
        let defined = all.map(|name| names.define(name.into(), Definition::new(None, &Span::text(0, 0))).is_ok());
        assert_eq!(defined, [true, true, true, true, true, false, true, true, false, false, true]);
        assert!(all.iter().all(|name| names.get(name).is_some()) && names.get("4").is_none() && names.get("").is_none());
        assert_eq!((names.len(), names.words().collect::<Vec<_>>()), (8, vec!["x"]));
    }
}
