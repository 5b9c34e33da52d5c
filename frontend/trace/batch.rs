//! Several prompts at once, each of its own length.

use std::ops::{Add, Div, Mul, Sub};

use irc_ir::{code::Code, diagnostic::Diagnostic};

use super::{Indices, Operand, Prompt, Session, Trace, TracedModel, Value, here};

/// Several prompts at once, each of its own length: a list of traces of one session, whose values are [`Rows`].
///
/// There is no padding: each prompt is a forward pass of its own, at its own positions, and what is computed for it is bit
/// for bit what the prompt alone gives. They run together all the same: their tokens travel in one flat batch through each
/// layer.
///
/// ```
/// # use irc::prelude::*;
/// let model = Model::open("induction")?;
/// let session = model.session();
/// let batch = session.batch(["<s> Eiffel Paris Eiffel", "<s> Prado Madrid Harry Potter Prado"]);
/// batch.hook("model.layers.2.output").at((.., -1)).mul_(0.5); // in each row, at its last token
/// batch.hook("lm_head.output").at((0, -1)).stack(0).argmax(-1).save("answers");
/// batch.hook("model.layers.3.output").save("h");
///
/// let results = session.run()?;
/// assert_eq!(model.decode(results.ints("answers")?), "Paris Madrid");
/// let rows = results.rows("h")?;
/// assert_eq!([rows[0].shape(), rows[1].shape()], [[1, 4, 64], [1, 6, 64]]);
/// # Ok::<(), irc::ir::diagnostic::Diagnostics>(())
/// ```
///
/// **Invokes.** What other libraries call the invokes of one trace are the rows of a batch, opened one after the other:
///
/// ```
/// # use irc::prelude::*;
/// # let model = Model::open("induction")?;
/// let session = model.session();
/// let mut batch = session.invokes();
/// let a = batch.invoke("<s> Eiffel Paris Buckingham London Eiffel");
/// let b = batch.invoke("<s> Colosseum Rome Prado Madrid Colosseum");
/// let last = a.hook("model.layers.3.output").at((.., -1)); // a value of an earlier invoke is used in a later one
/// b.hook("model.layers.1.output").at((.., -1)).set(&last);
/// batch.hook("lm_head.output").at((0, -1)).stack(0).argmax(-1).save("all"); // outside of invokes: all rows
/// assert_eq!(model.decode(session.run()?.ints("all")?), "Paris Paris");
/// # Ok::<(), irc::ir::diagnostic::Diagnostics>(())
/// ```
///
/// Two things are otherwise than in nnsight, where the invokes of a trace are one forward pass on padded prompts: rows are
/// not moved by padding, and a value of an earlier invoke can be used in a later one at any hook, earlier ones included.
#[derive(Clone, Debug)]
pub struct Batch {
    model: TracedModel,
    rows: Vec<Trace>,
}

impl Session {
    /// Opens a trace of the session's first model for each prompt; see [`Batch`].
    ///
    /// A session without a model is an error (E2002).
    #[track_caller]
    pub fn batch<P: Into<Prompt>>(&self, prompts: impl IntoIterator<Item = P>) -> Batch {
        self.any_model().batch(prompts)
    }

    /// A batch without rows, for [`Batch::invoke`].
    ///
    /// A session without a model is an error (E2002).
    #[track_caller]
    pub fn invokes(&self) -> Batch {
        Batch { model: self.any_model(), rows: vec![] }
    }
}

impl TracedModel {
    /// Opens a trace of this model for each prompt; see [`Batch`].
    #[track_caller]
    pub fn batch<P: Into<Prompt>>(&self, prompts: impl IntoIterator<Item = P>) -> Batch {
        let mut rows = vec![];
        for prompt in prompts {
            rows.push(self.trace(prompt));
        }
        Batch { model: self.clone(), rows }
    }
}

impl Batch {
    /// Opens a trace on one more prompt: it is a row from here on.
    #[track_caller]
    pub fn invoke(&mut self, prompt: impl Into<Prompt>) -> Trace {
        let trace = self.model.trace(prompt);
        self.rows.push(trace.clone());
        trace
    }

    /// Opens traces on more prompts: they are rows from here on, and a batch of their own.
    #[track_caller]
    pub fn invoke_batch<P: Into<Prompt>>(&mut self, prompts: impl IntoIterator<Item = P>) -> Batch {
        let batch = self.model.batch(prompts);
        self.rows.extend(batch.rows.iter().cloned());
        batch
    }

    /// The traces.
    pub fn rows(&self) -> &[Trace] {
        &self.rows
    }

    /// The value at a hook in each row; see [`Trace::hook`].
    #[track_caller]
    pub fn hook(&self, name: impl AsRef<str>) -> Rows {
        let mut rows = vec![];
        for trace in &self.rows {
            rows.push(trace.hook(name.as_ref()));
        }
        self.of(rows)
    }

    /// The values at all hooks that a pattern names, in each row; see [`Trace::hooks`].
    #[track_caller]
    pub fn hooks(&self, pattern: impl AsRef<str>) -> Vec<(String, Rows)> {
        let mut named: Vec<(String, Rows)> = vec![];
        for trace in &self.rows {
            let values = trace.hooks(pattern.as_ref());
            // All rows are of one model, so all have the same hooks.
            if named.is_empty() {
                named.extend(values.iter().map(|(name, _)| (name.clone(), self.of(vec![]))));
            }
            named.iter_mut().zip(values).for_each(|((_, rows), (_, value))| rows.rows.push(value));
        }
        named
    }

    /// A module of the model on the value of each row; see [`TracedModel::apply`].
    #[track_caller]
    pub fn apply(&self, module: impl AsRef<str>, values: &Rows) -> Rows {
        values.map(|value| self.model.apply(module.as_ref(), value))
    }

    fn of(&self, rows: Vec<Value>) -> Rows {
        Rows { session: self.model.session.clone(), rows }
    }
}

/// Values, one for each row of a batch: their sizes may differ.
#[derive(Clone, Debug)]
pub struct Rows {
    session: Session,
    rows: Vec<Value>,
}

/// One thing for all rows, or [`Rows`]: one for each.
#[derive(Clone, Debug)]
pub struct Each(Kind);

#[derive(Clone, Debug)]
enum Kind {
    All(Operand),
    Rows(Vec<Value>),
}

impl<T: Into<Operand>> From<T> for Each {
    fn from(value: T) -> Each {
        Each(Kind::All(value.into()))
    }
}

impl From<Rows> for Each {
    fn from(rows: Rows) -> Each {
        Each(Kind::Rows(rows.rows))
    }
}

impl From<&Rows> for Each {
    fn from(rows: &Rows) -> Each {
        rows.clone().into()
    }
}

impl Rows {
    /// The values, first row to last.
    pub fn values(&self) -> &[Value] {
        &self.rows
    }

    /// What a function makes of each value.
    #[track_caller]
    pub fn map(&self, of: impl FnMut(&Value) -> Value) -> Rows {
        Rows { session: self.session.clone(), rows: self.rows.iter().map(of).collect() }
    }

    /// What a function makes of each value and something beside it: one for all, or one for each row.
    ///
    /// Another number of rows is an error (E1008).
    #[track_caller]
    pub fn with(&self, other: impl Into<Each>, mut of: impl FnMut(&Value, Operand) -> Value) -> Rows {
        let mut rows = vec![];
        for (value, other) in self.rows.iter().zip(self.beside(other.into())) {
            rows.push(of(value, other));
        }
        Rows { session: self.session.clone(), rows }
    }

    /// A part of each value: Python's `h[…]`; see [`Value::at`].
    #[track_caller]
    pub fn at(&self, indices: impl Indices + Clone) -> Rows {
        let mut rows = vec![];
        for value in &self.rows {
            rows.push(value.at(indices.clone()));
        }
        Rows { session: self.session.clone(), rows }
    }

    /// A part of each value that is another one in each row, such as where a word stands in its prompt:
    /// `h.at_each(batch.rows(), |trace| (.., trace.position("Eiffel")))`.
    #[track_caller]
    pub fn at_each<I: Indices>(&self, traces: &[Trace], mut indices: impl FnMut(&Trace) -> I) -> Rows {
        let mut rows = vec![];
        let traces = if self.has_count(traces.len()) { traces } else { &[] };
        for (value, trace) in self.rows.iter().zip(traces) {
            rows.push(value.at(indices(trace)));
        }
        Rows { session: self.session.clone(), rows }
    }

    /// Sets each value, or a part of it that it is a view of, to one thing, or to one for each row; see [`Value::set`].
    ///
    /// Another number of rows is an error (E1008).
    #[track_caller]
    pub fn set(&self, values: impl Into<Each>) {
        for (value, new) in self.rows.iter().zip(self.beside(values.into())) {
            value.set(new);
        }
    }

    /// The values one after the other along a dimension; they agree in all others. Along 0 this is what a batch of prompts
    /// of one length holds at a hook.
    #[track_caller]
    pub fn cat(&self, dim: i64) -> Value {
        self.session.cat(&self.rows, dim)
    }

    /// The values, of one shape, along a new dimension.
    #[track_caller]
    pub fn stack(&self, dim: i64) -> Value {
        self.session.stack(&self.rows, dim)
    }

    /// Returns the values to the user under one name, as a tuple with a part for each row, whatever their lengths:
    /// [`Results::rows`](crate::run::Results::rows) has them, and files have them as `name.0`, `name.1`. One tensor is
    /// saved by `rows.cat(0).save(name)`.
    #[track_caller]
    pub fn save(&self, name: impl AsRef<str>) -> Rows {
        self.session.tuple(&self.rows).save(name);
        self.clone()
    }

    /// What stands beside each row; nothing after a mistake, so that nothing follows from it.
    #[track_caller]
    fn beside(&self, other: Each) -> Vec<Operand> {
        match other.0 {
            Kind::All(operand) => vec![operand; self.rows.len()],
            Kind::Rows(rows) if self.has_count(rows.len()) => rows.into_iter().map(Operand::from).collect(),
            Kind::Rows(_) => vec![],
        }
    }

    #[track_caller]
    fn has_count(&self, count: usize) -> bool {
        let own = self.rows.len();
        if count != own {
            let error = Diagnostic::error(Code::E1008, format!("a batch of {count} stands beside a batch of {own}")).label(here(), "");
            self.session.record().error(error.help("take rows of one batch, or one value for all of them"));
        }
        count == own
    }
}

macro_rules! in_place {
    ($($(#[doc = $doc:literal])+ $name:ident;)*) => { $(
        $(#[doc = $doc])+
        #[track_caller]
        pub fn $name(&self, values: impl Into<Each>) {
            for (value, other) in self.rows.iter().zip(self.beside(values.into())) {
                value.$name(other);
            }
        }
    )* };
}

/// In place, in each row.
impl Rows {
    in_place! {
        /// `h += values`
        add_;
        /// `h -= values`
        sub_;
        /// `h *= values`
        mul_;
        /// `h /= values`
        div_;
    }
}

macro_rules! operators {
    ($($trait:ident $method:ident;)*) => { $(
        impl<T: Into<Each>> $trait<T> for &Rows {
            type Output = Rows;
            #[track_caller]
            fn $method(self, other: T) -> Rows {
                let mut rows = vec![];
                for (value, other) in self.rows.iter().zip(self.beside(other.into())) {
                    rows.push($trait::$method(value, other));
                }
                Rows { session: self.session.clone(), rows }
            }
        }
        impl<T: Into<Each>> $trait<T> for Rows {
            type Output = Rows;
            #[track_caller]
            fn $method(self, other: T) -> Rows { $trait::$method(&self, other) }
        }
    )* };
}

operators! { Add add; Sub sub; Mul mul; Div div; }
