//! Whether all sides find the same.

use std::{fs, path::Path};

use irc::run::Results;

use crate::tasks::Answer;

/// A row is the same if the distance is at most this part of its length.
const TOLERANCE: f64 = 1e-4;

/// What a side found.
#[derive(Clone, PartialEq)]
pub(crate) enum Found {
    /// Row-major, rows of this width.
    Rows(usize, Vec<f32>),
    Choices(Vec<i64>),
}

/// What the others are compared with.
pub(crate) struct Reference {
    pub(crate) found: Found,
    /// How far the first of the logits leads the second, as a part of their length, where choices are compared.
    pub(crate) leads: Vec<f32>,
}

impl Found {
    /// What irc saved, in the order of the numbers under which it did.
    pub(crate) fn of(results: &Results, answer: Answer) -> Found {
        let names = (0..results.iter().count()).map(|number| number.to_string());
        match answer {
            Answer::Rows(width) => {
                Found::Rows(width, names.flat_map(|name| results.floats(&name).expect("it was saved").to_vec()).collect())
            }
            Answer::Choices { .. } => Found::Choices(names.flat_map(|name| results.ints(&name).expect("it was saved").to_vec()).collect()),
        }
    }

    /// What a peer wrote.
    pub(crate) fn read(path: &Path, answer: Answer) -> Result<Found, String> {
        Ok(match answer {
            Answer::Rows(width) => Found::Rows(width, floats(path)?),
            Answer::Choices { .. } => Found::Choices(elements(path, i64::from_le_bytes)?),
        })
    }
}

/// The f32 of a file.
pub(crate) fn floats(path: &Path) -> Result<Vec<f32>, String> {
    elements(path, f32::from_le_bytes)
}

fn elements<T, const SIZE: usize>(path: &Path, read: fn([u8; SIZE]) -> T) -> Result<Vec<T>, String> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (chunks, []) = bytes.as_chunks::<SIZE>() else { return Err(format!("{} has {} bytes", path.display(), bytes.len())) };
    Ok(chunks.iter().map(|chunk| read(*chunk)).collect())
}

/// How two compare.
enum Agreement {
    /// The largest distance of two rows, as a part of the reference's length.
    Rows(f64),
    /// Choices, those that the reference decides clearly, those of them that are other, and all that are other.
    Choices { all: usize, clear: usize, wrong: usize, other: usize },
    /// They do not have the same form.
    Other(String),
}

impl Reference {
    fn compare(&self, found: &Found) -> Agreement {
        match (found, &self.found) {
            (Found::Rows(width, ours), Found::Rows(_, theirs)) if ours.len() == theirs.len() && !ours.is_empty() => {
                let distance = |(ours, theirs): (&[f32], &[f32])| {
                    let length = |of: &mut dyn Iterator<Item = f64>| of.map(|x| x * x).sum::<f64>().sqrt();
                    let apart = length(&mut ours.iter().zip(theirs).map(|(a, b)| f64::from(*a) - f64::from(*b)));
                    apart / length(&mut theirs.iter().map(|b| f64::from(*b)))
                };
                let distances = ours.chunks(*width).zip(theirs.chunks(*width)).map(distance);
                // A distance that is no number is the largest.
                Agreement::Rows(distances.fold(0.0, |most: f64, next| if most.is_nan() || next <= most { most } else { next }))
            }
            (Found::Choices(ours), Found::Choices(theirs)) if ours.len() == theirs.len() && ours.len() == self.leads.len() => {
                // Each of two logits may be off by the tolerance.
                let clear = |lead: &f32| f64::from(*lead) > 2.0 * TOLERANCE;
                let others = || ours.iter().zip(theirs).zip(&self.leads).filter(|((ours, theirs), _)| ours != theirs);
                Agreement::Choices {
                    all: ours.len(),
                    clear: self.leads.iter().filter(|lead| clear(lead)).count(),
                    wrong: others().filter(|(_, lead)| clear(lead)).count(),
                    other: others().count(),
                }
            }
            (Found::Rows(_, ours), Found::Rows(_, theirs)) => Agreement::Other(format!("{} numbers, not {}", ours.len(), theirs.len())),
            (Found::Choices(ours), Found::Choices(theirs)) => Agreement::Other(format!("{} choices, not {}", ours.len(), theirs.len())),
            (Found::Rows(..), Found::Choices(_)) | (Found::Choices(_), Found::Rows(..)) => Agreement::Other("another form".to_owned()),
        }
    }

    /// Whether what was found is what the reference found.
    pub(crate) fn holds(&self, found: &Found) -> bool {
        match self.compare(found) {
            Agreement::Rows(distance) => distance <= TOLERANCE,
            Agreement::Choices { clear, wrong, .. } => clear > 0 && wrong == 0,
            Agreement::Other(_) => false,
        }
    }
}

/// How far something is from the reference, in words.
pub(crate) fn say(found: &Found, reference: Option<&Reference>) -> String {
    let Some(reference) = reference else { return "not compared".to_owned() };
    let holds = if reference.holds(found) { "ok" } else { "WRONG" };
    match reference.compare(found) {
        Agreement::Rows(distance) => format!("off by {distance:.1e} <= {TOLERANCE:.0e} {holds}"),
        Agreement::Choices { all, clear, wrong, other } => {
            format!("{all} choices, {other} other; {clear} are clear, of them {wrong} other {holds}")
        }
        Agreement::Other(what) => format!("{what} {holds}"),
    }
}
