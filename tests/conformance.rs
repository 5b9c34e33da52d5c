//! Our backends under the suite that engines of others are checked with; and the suite under backends that are wrong.

use irc::{
    backends::{
        Backend, Event, Handles, Outcome,
        cancel::Cancel,
        conformance::{Suite, check},
        execute::Driven,
        host::Host,
        reference::Reference,
        rten::Rten,
    },
    ir::{diagnostic::Diagnostic, eval::Value, tensor::Tensor, verify::Verified},
};

#[test]
fn the_engine_conforms() {
    let report = check(&Driven::new(Rten::new(Some(2))), &Suite::default());
    report.assert();
    // Otherwise the report shows less than it says.
    for section in &report.sections {
        assert!(section.passed >= 5 && (section.refused == 0 || section.name == "random programs of all kinds"), "{report}");
        assert!(section.undecided < 5 * section.passed, "{report}");
    }
    let most = |name: &str, least: usize| report.section(name).is_some_and(|section| section.passed > least);
    assert!(most("hooks set", 200) && most("random programs", 100) && most("random programs of all kinds", 20), "{report}");
}

#[test]
fn the_reference_conforms() {
    let report = check(&Reference, &Suite { programs: 400, pairs: 20 });
    report.assert();
    assert!(report.sections.iter().all(|section| section.refused == 0), "{report}");
    println!("{report}");
}

/// The reference with a mistake.
struct Wrong(Mistake);

#[derive(Clone, Copy, PartialEq, Debug)]
enum Mistake {
    /// Floats are a thousandth off.
    Inexact,
    /// A value depends, by its last bit, on how much is saved.
    Perturbed,
    /// Logs come late.
    Unordered,
    /// Errors have no place.
    Placeless,
    /// Errors are panics.
    Panics,
    /// Nobody can cancel it.
    Deaf,
}

impl Backend for Wrong {
    fn name(&self) -> &str {
        "wrong"
    }

    fn run_for(&self, program: &Verified, models: &Handles, host: &mut dyn Host) -> Result<Outcome, Diagnostic> {
        let change = |value: &mut Value, by: &dyn Fn(f32) -> f32| {
            if let Value::Tensor(tensor) = value
                && let Some(values) = tensor.values::<f32>()
            {
                *value = Tensor::new(tensor.shape(), values.iter().map(|x| by(*x)).collect::<Vec<f32>>()).into();
            }
        };
        let mut between = Between { inner: host, mistake: self.0, logs: vec![] };
        let result = Reference.run_for(program, models, &mut between);
        let Between { inner, logs, .. } = between;
        logs.into_iter().rev().for_each(|log| inner.event(log));
        let mut outcome = match (self.0, result) {
            (Mistake::Placeless, Err(error)) => return Err(Diagnostic { labels: vec![], ..error }),
            (Mistake::Panics, Err(error)) => panic!("{error}"),
            (_, result) => result?,
        };
        let many = outcome.saves.len() > 6;
        for (_, value) in &mut outcome.saves {
            match self.0 {
                Mistake::Inexact => change(value, &|x| x * 1.001),
                Mistake::Perturbed if many => change(value, &|x| f32::from_bits(x.to_bits() ^ 1)),
                Mistake::Perturbed | Mistake::Unordered | Mistake::Placeless | Mistake::Panics | Mistake::Deaf => {}
            }
        }
        Ok(outcome)
    }
}

/// A host that is not quite the one behind it.
struct Between<'a> {
    inner: &'a mut dyn Host,
    mistake: Mistake,
    /// Kept for the end.
    logs: Vec<Event>,
}

impl Host for Between<'_> {
    fn event(&mut self, event: Event) {
        match self.mistake {
            Mistake::Unordered => self.logs.push(event),
            _ => self.inner.event(event),
        }
    }
    fn has(&self, function: &str) -> bool {
        self.inner.has(function)
    }
    fn call(&mut self, function: &str, operands: &[Value]) -> Result<Value, Diagnostic> {
        self.inner.call(function, operands)
    }
    fn cancel(&self) -> Cancel {
        match self.mistake {
            Mistake::Deaf => Cancel::new(),
            _ => self.inner.cancel(),
        }
    }
}

#[test]
fn mistakes_are_found() {
    let expected: [(Mistake, &[&str]); 6] = [
        (Mistake::Inexact, &["hooks read", "hooks set", "modules applied", "random programs"]),
        (Mistake::Perturbed, &["forwards among others", "reads added", "programs with other effects"]),
        (Mistake::Unordered, &["random programs"]),
        (Mistake::Placeless, &["failures"]),
        (Mistake::Panics, &["failures"]),
        (Mistake::Deaf, &["cancelled runs"]),
    ];
    for (mistake, sections) in expected {
        let report = check(&Wrong(mistake), &Suite { programs: 40, pairs: 0 });
        for section in sections {
            assert!(report.section(section).is_some_and(|section| !section.failures.is_empty()), "{mistake:?} in {section}:\n{report}");
        }
        assert!(report.to_string().contains("does not conform"));
    }
}
