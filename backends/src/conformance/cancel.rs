//! A run that is cancelled ends with E4006, does nothing more, and leaves nothing behind.

use std::{thread, time::Duration};

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
    eval::Value,
    graph::{Effect, EffectKind},
    random::Dice,
    tensor::Tensor,
    types::{DType, Type},
};

use super::{
    Case, Checker,
    models::all,
    program::{Program, ids, same_bits},
};
use crate::{Backend, Event, Handle, Outcome, cancel::Cancel, failed, host::Host};

pub(super) fn check(checker: &mut Checker<'_>) {
    checker.section("cancelled runs");
    for (name, model, logits) in all() {
        let program = program(model, logits);
        for at in 0..=HEARD {
            checker.case(&format!("{name}, cancelled after {at} events"), |backend| cancelled_by_the_program(&program, backend, at));
        }
        for micros in [0, 100, 1_000, 10_000] {
            let delay = Duration::from_micros(micros);
            checker.case(&format!("{name}, cancelled from elsewhere after {delay:?}"), |backend| {
                cancelled_elsewhere(&program, backend, delay)
            });
        }
    }
}

/// How often the program's host hears of it.
const HEARD: usize = 4;

/// Two forwards, of which the second sets a hook; between them and at the end something that the host hears.
fn program(model: &Handle, logits: &str) -> Program {
    let mut program = Program::new(model);
    let mut dice = Dice::new(90);
    let log = |program: &mut Program, value| {
        program.graph.effects.push(Effect::new(EffectKind::Log { label: None }, [value], Span::None));
    };
    let first = program.forward(&ids(1, 9, &mut dice));
    let first = program.read(first, logits);
    log(&mut program, first);
    program.save("first", first);
    let second = program.forward(&ids(1, 70, &mut dice));
    let hook = super::program::hooks(model).swap_remove(4);
    let value = program.read(second, &hook);
    let changed = program.changed(value);
    let second = program.write(second, &hook, changed);
    let second = program.read(second, logits);
    let call = EffectKind::Call { name: "f".into(), returns: Type::tensor(DType::I64, []) };
    program.graph.effects.push(Effect::new(call, [second], Span::None));
    program.save("second", second);
    for value in [second, first] {
        log(&mut program, value);
    }
    program
}

/// A host that cancels when it hears of something for the last time.
struct Impatient {
    cancel: Cancel,
    /// How much it hears before it cancels.
    patience: usize,
    heard: usize,
}

impl Impatient {
    fn new(cancel: &Cancel, patience: usize) -> Impatient {
        Impatient { cancel: cancel.clone(), patience, heard: 0 }
    }

    fn hear(&mut self) {
        self.heard += 1;
        if self.heard == self.patience {
            self.cancel.cancel();
        }
    }
}

impl Host for Impatient {
    fn event(&mut self, _: Event) {
        self.hear();
    }

    fn has(&self, _: &str) -> bool {
        true
    }

    fn call(&mut self, _: &str, _: &[Value]) -> Result<Value, Diagnostic> {
        self.hear();
        match self.cancel.is_cancelled() {
            // What was told to end may fail for it, and it is the cancel that counts.
            true => Err(failed("it gives up")),
            false => Ok(Tensor::scalar(1i64).into()),
        }
    }

    fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }
}

/// The program to its end.
fn whole(program: &Program, backend: &dyn Backend) -> Result<Outcome, Diagnostic> {
    program.run_for(backend, &mut Impatient::new(&Cancel::new(), usize::MAX))
}

fn is_cancelled(result: Result<Outcome, Diagnostic>) -> Result<(), String> {
    match result {
        Err(error) if error.code == Code::E4006 => Ok(()),
        Err(error) => Err(format!("it fails with another code than E4006: {error}")),
        Ok(_) => Err("it runs to its end".to_owned()),
    }
}

fn cancelled_by_the_program(program: &Program, backend: &dyn Backend, at: usize) -> Case {
    let before = whole(program, backend)?;
    let cancel = Cancel::new();
    if at == 0 {
        cancel.cancel();
    }
    let mut host = Impatient::new(&cancel, at);
    is_cancelled(program.run_for(backend, &mut host))?;
    if host.heard != at {
        return Err(format!("it goes on after it was cancelled: {} events, not {at}", host.heard).into());
    }
    // What is cancelled stays cancelled.
    let mut again = Impatient::new(&cancel, usize::MAX);
    is_cancelled(program.run_for(backend, &mut again))?;
    if again.heard > 0 {
        return Err("it begins although it was cancelled before".to_owned().into());
    }
    same_bits(&before, &whole(program, backend)?)?;
    Ok(0)
}

/// Another run at the same time, and those that come after, have nothing to do with it.
fn cancelled_elsewhere(program: &Program, backend: &dyn Backend, delay: Duration) -> Case {
    let before = whole(program, backend)?;
    let cancel = Cancel::new();
    let (cancelled, beside) = thread::scope(|scope| {
        let beside = scope.spawn(|| whole(program, backend));
        scope.spawn(|| {
            thread::sleep(delay);
            cancel.cancel();
        });
        let cancelled = program.run_for(backend, &mut Impatient::new(&cancel, usize::MAX));
        (cancelled, beside.join())
    });
    match cancelled {
        // It was faster.
        Ok(outcome) => same_bits(&before, &outcome)?,
        error => is_cancelled(error)?,
    }
    same_bits(&before, &beside.map_err(|_| "the run beside it panics".to_owned())??)?;
    same_bits(&before, &whole(program, backend)?)?;
    Ok(0)
}
