//! The user's side of a run: who hears of events, and whose functions programs call.

use std::collections::BTreeMap;

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
    eval::Value,
    graph::{EffectKind, Graph},
    op::Op,
    types::{Name, Type},
    verify::Verified,
};

use crate::{Event, cancel::Cancel, failed};

/// The user's side of a run.
pub trait Host: Send {
    /// Hears of something that happens while the program runs.
    fn event(&mut self, event: Event);

    /// Whether there is a function of this name.
    fn has(&self, function: &str) -> bool;

    /// Calls a function. The backend checks that what it returns is of the type that the program declares.
    ///
    /// # Errors
    /// Whatever the function fails with; it ends the run.
    fn call(&mut self, function: &str, operands: &[Value]) -> Result<Value, Diagnostic>;

    /// What the run can be cancelled with. It is asked for once, before anything runs.
    ///
    /// By default nobody can cancel it.
    fn cancel(&self) -> Cancel {
        Cancel::new()
    }
}

/// A function of the user's.
pub type Function = dyn FnMut(&[Value]) -> Result<Value, String> + Send;

/// A host with functions under their names.
///
/// ```
/// use irc_backends::host::{Functions, Host};
/// use irc_ir::{eval::Value, tensor::Tensor};
///
/// let mut calls = 0;
/// let mut host = Functions::new(|event| println!("{event:?}"));
/// host.add("count", move |_| {
///     calls += 1;
///     Ok(Value::from(Tensor::scalar(calls as i64)))
/// });
/// assert!(host.has("count"));
/// assert_eq!(host.call("count", &[]).unwrap(), Tensor::scalar(1i64).into());
/// ```
pub struct Functions<'a> {
    on_event: Box<dyn FnMut(Event) + Send + 'a>,
    functions: BTreeMap<Name, Box<Function>>,
    cancel: Cancel,
}

impl<'a> Functions<'a> {
    /// A host without functions, which hands on events.
    pub fn new(on_event: impl FnMut(Event) + Send + 'a) -> Functions<'a> {
        Functions { on_event: Box::new(on_event), functions: BTreeMap::new(), cancel: Cancel::new() }
    }

    /// The same, whose runs end when `cancel` is cancelled.
    pub fn with_cancel(self, cancel: &Cancel) -> Functions<'a> {
        Functions { cancel: cancel.clone(), ..self }
    }

    /// Adds a function, in the place of one that had its name. What it fails with ends the run, at the call.
    pub fn add(&mut self, name: &str, function: impl FnMut(&[Value]) -> Result<Value, String> + Send + 'static) {
        self.functions.insert(name.into(), Box::new(function));
    }
}

impl Host for Functions<'_> {
    fn event(&mut self, event: Event) {
        (self.on_event)(event);
    }

    fn has(&self, function: &str) -> bool {
        self.functions.contains_key(function)
    }

    fn call(&mut self, function: &str, operands: &[Value]) -> Result<Value, Diagnostic> {
        let known = self.functions.get_mut(function).ok_or_else(|| failed(format!("there is no function `{function}`")))?;
        known(operands).map_err(|message| failed(format!("`{function}` failed: {message}")))
    }

    fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }
}

/// Who only listens.
pub(crate) struct Listener<'a>(pub(crate) &'a mut (dyn FnMut(Event) + Send));

impl Host for Listener<'_> {
    fn event(&mut self, event: Event) {
        (self.0)(event);
    }

    fn has(&self, _: &str) -> bool {
        false
    }

    fn call(&mut self, function: &str, _: &[Value]) -> Result<Value, Diagnostic> {
        Err(failed(format!("there is no function `{function}`")))
    }
}

/// Checks that everything that a program calls is there, before anything runs.
pub(crate) fn check_functions(program: &Verified, host: &dyn Host) -> Result<(), Diagnostic> {
    let mut stack: Vec<&Graph> = vec![program.graph()];
    let check = |name: &Name, span: &Span| match host.has(name) {
        true => Ok(()),
        false => Err(Diagnostic::error(Code::E3009, format!("the program calls the function `{name}`, which nobody has registered"))
            .label(span.clone(), "")
            .help(format!("in Rust, register it with the host of the run: `Functions::add(\"{name}\", …)`"))),
    };
    while let Some(graph) = stack.pop() {
        let live = graph.live();
        for (id, node) in graph.nodes().filter(|(id, _)| live[id.index()]) {
            match &node.op {
                Op::Call { name, .. } => check(name, graph.span(id))?,
                Op::Loop { body, .. } => stack.push(body.graph()),
                _ => {}
            }
        }
        for effect in &graph.effects {
            match &effect.kind {
                EffectKind::Call { name, .. } => check(name, &effect.span)?,
                EffectKind::Loop { body, .. } => stack.push(body.graph()),
                EffectKind::Save { .. } | EffectKind::Log { .. } | EffectKind::Stop { .. } => {}
            }
        }
    }
    Ok(())
}

/// Calls a function of the user's, and checks what it returns.
pub(crate) fn call(host: &mut dyn Host, function: &str, operands: &[Value], returns: &Type, span: &Span) -> Result<Value, Diagnostic> {
    let value = host.call(function, operands).map_err(|error| error.or_label(span))?;
    match value.ty() == *returns {
        true => Ok(value),
        false => Err(failed(format!("`{function}` returns {}, but the program declares {returns}", value.ty())).or_label(span)),
    }
}
