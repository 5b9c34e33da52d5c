//! What an `einsum` equation says.

use std::collections::BTreeMap;

use super::{mixed_dtypes, numbers};
use crate::{
    code::Code,
    diagnostic::Diagnostic,
    op::Op,
    types::{DType, Dim, TensorType},
};

/// A dimension of an equation, by its order: those of the ellipsis, first to last, then letters in the order of ASCII.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Label {
    /// A dimension that an ellipsis stands for, counted from the first of the longest ellipsis.
    Other(usize),
    /// A letter.
    Letter(u8),
}

/// The dimensions of each operand and of the result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Equation {
    pub(crate) operands: Vec<Vec<Label>>,
    pub(crate) result: Vec<Label>,
}

/// Letters, and where the ellipsis stands among them.
#[derive(Clone, Default)]
struct Subscript {
    letters: Vec<u8>,
    ellipsis: Option<usize>,
}

impl Subscript {
    fn new(text: &str) -> Result<Subscript, String> {
        let mut found = Subscript::default();
        let mut rest = text;
        while let Some(next) = rest.bytes().next() {
            if let Some(after) = rest.strip_prefix("...") {
                if found.ellipsis.replace(found.letters.len()).is_some() {
                    return Err(format!("`{text}` has two ellipses"));
                }
                rest = after;
            } else if next.is_ascii_alphabetic() || next == b' ' {
                found.letters.extend((next != b' ').then_some(next));
                rest = &rest[1..];
            } else {
                return Err(format!("`{text}` has something else than letters and `...`"));
            }
        }
        Ok(found)
    }

    /// The labels, where the ellipsis stands for the last `others` of the `longest` dimensions of ellipses.
    fn labels(&self, others: usize, longest: usize) -> Vec<Label> {
        let mut labels: Vec<Label> = self.letters.iter().copied().map(Label::Letter).collect();
        if let Some(at) = self.ellipsis {
            labels.splice(at..at, (longest - others..longest).map(Label::Other));
        }
        labels
    }
}

impl Equation {
    /// Reads an equation for operands of these numbers of dimensions.
    ///
    /// # Errors
    /// What is wrong with it, to be said after a colon.
    pub(crate) fn new(text: &str, ranks: &[usize]) -> Result<Equation, String> {
        let (operands, result) = text.split_once("->").map_or((text, None), |(operands, result)| (operands, Some(result)));
        let subscripts = operands.split(',').map(Subscript::new).collect::<Result<Vec<_>, _>>()?;
        if subscripts.len() != ranks.len() {
            return Err(format!("it is about {} operands, but gets {}", subscripts.len(), ranks.len()));
        }
        let mut others = vec![];
        for (at, (subscript, &rank)) in subscripts.iter().zip(ranks).enumerate() {
            let letters = subscript.letters.len();
            match rank.checked_sub(letters) {
                Some(0) => others.push(0),
                Some(more) if subscript.ellipsis.is_some() => others.push(more),
                _ => return Err(format!("it has {letters} letters for the {rank} dimensions of operand {}", at + 1)),
            }
        }
        let longest = others.iter().copied().max().unwrap_or(0);
        let operands: Vec<Vec<Label>> =
            subscripts.iter().zip(&others).map(|(subscript, &others)| subscript.labels(others, longest)).collect();
        let mut counts: BTreeMap<Label, usize> = BTreeMap::new();
        for label in operands.iter().flatten() {
            *counts.entry(*label).or_default() += 1;
        }
        let result = match result {
            Some(result) => Subscript::new(result)?.labels(longest, longest),
            None => {
                counts.iter().filter(|(label, count)| **count == 1 || matches!(label, Label::Other(_))).map(|(label, _)| *label).collect()
            }
        };
        for (at, label) in result.iter().enumerate() {
            let Label::Letter(letter) = label else { continue };
            if !counts.contains_key(label) {
                return Err(format!("`{}` of the result is in no operand", char::from(*letter)));
            }
            if result[..at].contains(label) {
                return Err(format!("`{}` is twice in the result", char::from(*letter)));
            }
        }
        Ok(Equation { operands, result })
    }
}

pub(super) fn einsum(op: &Op, equation: &str, operands: &[&TensorType]) -> Result<TensorType, Diagnostic> {
    let wrong = |why: String| Diagnostic::error(Code::E1008, format!("`einsum` cannot do \"{equation}\": {why}"));
    let ranks: Vec<usize> = operands.iter().map(|ty| ty.rank()).collect();
    let read = Equation::new(equation, &ranks).map_err(wrong)?;
    let dtype = operands.first().map_or(DType::F32, |ty| ty.dtype);
    for ty in operands {
        numbers(op, ty)?;
        if ty.dtype != dtype {
            return Err(mixed_dtypes(op, dtype, ty.dtype));
        }
    }
    let mut sizes: BTreeMap<Label, Dim> = BTreeMap::new();
    for (labels, ty) in read.operands.iter().zip(operands) {
        for (at, (label, size)) in labels.iter().zip(&ty.shape).enumerate() {
            let one = Dim::known(1);
            let first = labels[..at].iter().position(|other| other == label);
            let known = sizes.get(label).unwrap_or(&one);
            // Twice in one operand, sizes are equal; in several, one may be 1.
            let fits = first.map_or(*known == one || *size == one || known == size, |first| ty.shape[first] == *size);
            if !fits {
                let (a, b) = (first.map_or(known, |first| &ty.shape[first]), size);
                let name = match label {
                    Label::Letter(letter) => format!("`{}`", char::from(*letter)),
                    Label::Other(_) => "a dimension of `...`".to_owned(),
                };
                return Err(Diagnostic::error(
                    Code::E1003,
                    format!("`einsum` \"{equation}\" needs one size for {name}, but gets {a} and {b}"),
                ));
            }
            if *known == one {
                sizes.insert(*label, size.clone());
            }
        }
    }
    let one = Dim::known(1);
    Ok(TensorType::new(dtype, read.result.iter().map(|label| sizes.get(label).unwrap_or(&one).clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_are_read() {
        let shown = |text: &str, ranks: &[usize]| {
            let show = |label: &Label| match label {
                Label::Letter(letter) => char::from(*letter).to_string(),
                Label::Other(at) => at.to_string(),
            };
            let equation = Equation::new(text, ranks)?;
            let parts: Vec<String> =
                equation.operands.iter().chain([&equation.result]).map(|labels| labels.iter().map(show).collect()).collect();
            Ok::<String, String>(parts.join(" "))
        };
        assert_eq!(shown("ij,jk", &[2, 2]).unwrap(), "ij jk ik");
        assert_eq!(shown("b a , B", &[2, 1]).unwrap(), "ba B Bab");
        assert_eq!(shown("...i,i...->...", &[3, 2]).unwrap(), "01i i1 01");
        assert_eq!(shown("i...", &[3]).unwrap(), "i01 01i");
        assert_eq!(shown(",->", &[0, 0]).unwrap(), "  ");
        for (text, ranks, why) in [
            ("ij", &[3][..], "2 letters"),
            ("ij", &[2, 2], "about 1 operands"),
            ("ij->ii", &[2], "twice"),
            ("ij->k", &[2], "no operand"),
            ("......", &[2], "two ellipses"),
            ("i.j", &[2], "something else"),
            ("é", &[1], "something else"),
            ("i->j->i", &[1], "something else"),
        ] {
            assert!(shown(text, ranks).unwrap_err().contains(why), "{text}");
        }
    }
}
