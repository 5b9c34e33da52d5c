//! What the demo tells, on the real model and on the toy.

use crate::models::{BUILT_IN, Model, induction};

/// The real model.
pub(super) const REAL: &str = "smollm2";

/// A value of one run in another, at the last token.
pub(super) struct Patch {
    pub(super) from: &'static str,
    pub(super) into: &'static str,
    pub(super) read: String,
    pub(super) write: String,
}

/// A place of the sweep.
pub(super) struct Place {
    pub(super) label: String,
    pub(super) hook: String,
}

/// What must come out, where that is known.
pub(super) struct Known {
    pub(super) t1: &'static str,
    pub(super) t2: &'static str,
    pub(super) alone: &'static str,
    pub(super) sweep: Vec<f64>,
}

impl Known {
    pub(super) fn count(&self) -> usize {
        3 + self.sweep.len()
    }
}

/// A model with prompts that suit it.
pub(super) struct Story {
    pub(super) patch: Patch,
    pub(super) sweep_from: &'static str,
    pub(super) sweep_into: &'static str,
    pub(super) sweep: Vec<Place>,
    /// The word whose probability the sweep shows.
    pub(super) answer: &'static str,
    pub(super) known: Option<Known>,
}

impl Story {
    /// The story that suits a model.
    pub(super) fn of(model: &Model) -> Story {
        if model.name() == BUILT_IN { toy() } else { real(model) }
    }
}

fn real(model: &Model) -> Story {
    let layers = (0..).map(|layer| format!("model.layers.{layer}.output")).take_while(|hook| model.spec().hook(hook).is_ok());
    let sweep: Vec<Place> = layers.enumerate().map(|(layer, hook)| Place { label: format!("layer {layer}"), hook }).collect();
    let (from, into) = ("The Eiffel Tower is in the city of", "Buckingham Palace is in the city of");
    let read = sweep.last().map_or_else(String::new, |last| last.hook.clone());
    let patch = Patch { from, into, read, write: "model.layers.1.output".to_owned() };
    Story { patch, sweep_from: from, sweep_into: into, sweep, answer: " Paris", known: None }
}

/// The toy has the same experiments, with their answers, in its tables.
fn toy() -> Story {
    let known = induction::SESSION.iter().find(|known| known.write == "model.layers.1.output").unwrap_or(&induction::SESSION[0]);
    let alone = |prompt: &str| induction::PROMPTS.iter().find(|known| known.prompt == prompt).map_or("", |known| known.answer.word());
    let answer = "Paris";
    let label = |hook: &str| hook.trim_start_matches("model.").to_owned();
    Story {
        patch: Patch { from: known.from, into: known.into, read: known.read.to_owned(), write: known.write.to_owned() },
        sweep_from: induction::SWEEP[0].from,
        sweep_into: induction::SWEEP[0].into,
        sweep: induction::SWEEP.iter().map(|known| Place { label: label(known.write), hook: known.write.to_owned() }).collect(),
        answer,
        known: Some(Known {
            t1: alone(known.from),
            t2: known.answer.word(),
            alone: alone(known.into),
            sweep: induction::SWEEP.iter().map(|known| known.answer.probability(answer)).collect(),
        }),
    }
}
