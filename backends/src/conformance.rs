//! The conformance suite: what every backend and every engine holds to, checked on small models with random weights.
//!
//! ```
//! use irc_backends::{conformance, reference::Reference};
//!
//! let report = conformance::check(&Reference, &conformance::Suite { programs: 5, ..conformance::Suite::default() });
//! report.assert();
//! println!("{report}");
//! ```
//!
//! An engine of one's own is checked as `check(&Driven::new(MyEngine), &Suite::default())`. The oracle is
//! [`Reference`].
//!
//! - **Values**: every hook read and set, every module applied, and random programs give what the reference gives: integers
//!   and bools exactly, rows of floats to 1e-4 of their length. In random programs a value may hang on the last digits of
//!   the weights, as a comparison of near equals does; what shaken weights change is not compared, and counted.
//! - **Bits**: a read, another forward or another row changes no bit of a value; what is read and written back changes
//!   nothing; the first tokens of a long prompt are the short one.
//! - **Failures**: bad token ids, bad indices and functions that fail are diagnostics with a code and a place.
//! - **Cancel**: a run that is cancelled ends with E4006 and does nothing more; runs beside it and after it have the same bits.
//!
//! What a backend refuses with E4005 is counted as refused, not as failed: the report says what it was. A panic is a failure.

mod bits;
mod cancel;
mod failures;
mod models;
pub mod program;
mod programs;
mod values;

use std::{
    collections::BTreeSet,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use irc_ir::{code::Code, diagnostic::Diagnostic};

use crate::{Backend, reference::Reference};

pub use models::{VOCABULARY, handle, llama, odd, weights};

/// How much is checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Suite {
    /// How many random programs run, of each kind.
    pub programs: u64,
    /// How many pairs of hooks are set in one forward, besides those that are near each other.
    pub pairs: usize,
}

impl Default for Suite {
    /// What takes seconds on the reference.
    fn default() -> Suite {
        Suite { programs: 120, pairs: 100 }
    }
}

/// Checks a backend.
pub fn check(backend: &dyn Backend, suite: &Suite) -> Report {
    let mut checker = Checker { backend, oracle: &Reference, sections: vec![] };
    values::check(&mut checker, suite);
    programs::check(&mut checker, suite);
    bits::check(&mut checker, suite);
    failures::check(&mut checker);
    cancel::check(&mut checker);
    Report { backend: backend.name().to_owned(), sections: checker.sections }
}

/// Compares two backends on random programs, as [`check`] compares one with the reference.
pub fn agree(backend: &dyn Backend, other: &dyn Backend, programs: u64) -> Report {
    let mut checker = Checker { backend, oracle: other, sections: vec![] };
    programs::compare_all(&mut checker, programs);
    Report { backend: backend.name().to_owned(), sections: checker.sections }
}

/// What was found, section by section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The name of the backend.
    pub backend: String,
    /// The sections, in the order in which they ran.
    pub sections: Vec<Section>,
}

/// What was found of one law.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Section {
    /// What was checked.
    pub name: &'static str,
    /// Cases that hold.
    pub passed: usize,
    /// Cases that the backend refused with E4005.
    pub refused: usize,
    /// Why it refused them, each reason once.
    pub reasons: BTreeSet<String>,
    /// Values that could not be compared, because they hang on the last digits of the weights.
    pub undecided: usize,
    /// What is wrong: the case, and what was found.
    pub failures: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn holds(&self) -> bool {
        self.sections.iter().all(|section| section.failures.is_empty())
    }

    /// The section of this name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// For tests.
    ///
    /// # Panics
    /// If something is wrong, with the list of it.
    pub fn assert(&self) {
        assert!(self.holds(), "{self}");
    }
}

/// No report is longer for one law.
const SHOWN: usize = 8;

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.holds() { "conforms" } else { "does not conform" };
        writeln!(out, "`{}` {verdict}", self.backend)?;
        for section in &self.sections {
            write!(out, "  {:<34} {:>5} passed", section.name, section.passed)?;
            for (count, what) in [(section.failures.len(), "FAILED"), (section.refused, "refused"), (section.undecided, "values undecided")]
            {
                if count > 0 {
                    write!(out, ", {count} {what}")?;
                }
            }
            writeln!(out)?;
            section.reasons.iter().try_for_each(|reason| writeln!(out, "    refused: {reason}"))?;
            section.failures.iter().take(SHOWN).try_for_each(|failure| writeln!(out, "    {}", failure.replace('\n', "\n      ")))?;
            if section.failures.len() > SHOWN {
                writeln!(out, "    and {} more", section.failures.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}

/// Why a case does not hold.
enum Trouble {
    /// The backend cannot do it, and says so.
    Refused(String),
    /// Anything else.
    Wrong(String),
}

impl From<String> for Trouble {
    fn from(message: String) -> Trouble {
        Trouble::Wrong(message)
    }
}

impl From<Diagnostic> for Trouble {
    fn from(error: Diagnostic) -> Trouble {
        match error.code {
            Code::E4005 => Trouble::Refused(error.message),
            _ => Trouble::Wrong(format!("it fails: {error}")),
        }
    }
}

/// The outcome of a case: how many values were undecided.
type Case = Result<usize, Trouble>;

struct Checker<'a> {
    backend: &'a dyn Backend,
    /// What is right.
    oracle: &'a dyn Backend,
    sections: Vec<Section>,
}

impl<'a> Checker<'a> {
    fn section(&mut self, name: &'static str) {
        self.sections.push(Section { name, ..Section::default() });
    }

    /// Runs a case of the current section.
    fn case(&mut self, what: &str, case: impl FnOnce(&'a dyn Backend) -> Case) {
        let backend = self.backend;
        let result = catch_unwind(AssertUnwindSafe(|| case(backend))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            Err(Trouble::Wrong(format!("it panics: {}", text.unwrap_or("with no message"))))
        });
        let Some(section) = self.sections.last_mut() else { return };
        match result {
            Ok(undecided) => {
                section.passed += 1;
                section.undecided += undecided;
            }
            Err(Trouble::Refused(reason)) => {
                section.refused += 1;
                section.reasons.insert(reason);
            }
            Err(Trouble::Wrong(message)) => section.failures.push(format!("{what}: {message}")),
        }
    }
}
