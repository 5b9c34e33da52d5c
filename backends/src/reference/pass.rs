//! A forward pass of the reference backend, as far as it was asked for.

use std::{borrow::Cow, collections::HashMap, ops::Range};

use irc_ir::{
    diagnostic::Diagnostic,
    eval::{Value, eval},
    graph::NodeId,
    model::{HookId, ModelSpec},
    op::Op,
    tensor::Tensor,
    types::{Dim, Name},
};

use crate::{Handle, cancel::Cancel, failed, steps::check_length};

/// A forward pass: the segments that it was extended by, one after the other, and what was evaluated of it so far.
///
/// An extended forward is by definition that of all tokens together, in which the writes of each segment apply to its own
/// positions. So all of it is evaluated, and a read shows the positions of the last segment.
#[derive(Clone)]
pub(super) struct Pass {
    pub(super) model: Name,
    batch: usize,
    segments: Vec<Segment>,
    nodes: HashMap<NodeId, Value>,
}

#[derive(Clone)]
struct Segment {
    length: usize,
    /// None where nobody looks at tokens: a module on a value.
    tokens: Option<Tensor>,
    writes: HashMap<HookId, Value>,
}

impl Pass {
    pub(super) fn new(model: Name, tokens: Tensor, context: usize) -> Result<Pass, Diagnostic> {
        let [batch, _] = *tokens.shape() else { return Err(failed("token ids are [batch, tokens]")) };
        Pass { model, batch, segments: vec![], nodes: HashMap::new() }.extended(tokens, context)
    }

    /// The forward of an applied module, which has no tokens.
    pub(super) fn nameless(model: Name, batch: usize, length: usize, writes: HashMap<HookId, Value>) -> Pass {
        Pass { model, batch, segments: vec![Segment { length, tokens: None, writes }], nodes: HashMap::new() }
    }

    pub(super) fn extended(&self, tokens: Tensor, context: usize) -> Result<Pass, Diagnostic> {
        let [batch, length] = tokens.shape() else { return Err(failed("token ids are [batch, tokens]")) };
        if *batch != self.batch {
            return Err(failed(format!("{} sequences cannot go on with tokens for {batch}", self.batch)));
        }
        check_length(*batch, *length, self.length(), context)?;
        let mut segments = self.segments.clone();
        segments.push(Segment { length: *length, tokens: Some(tokens), writes: HashMap::new() });
        Ok(Pass { model: self.model.clone(), batch: self.batch, segments, nodes: HashMap::new() })
    }

    pub(super) fn written(&self, hook: HookId, value: Value) -> Pass {
        let mut segments = self.segments.clone();
        if let Some(last) = segments.last_mut() {
            last.writes.insert(hook, value);
        }
        // What was evaluated of the other forward may depend on what is now written.
        Pass { model: self.model.clone(), batch: self.batch, segments, nodes: HashMap::new() }
    }

    /// The numbers of sequences, of tokens of each, and of those before them.
    pub(super) fn sizes(&self) -> [usize; 3] {
        let tokens = self.segments.last().map_or(0, |segment| segment.length);
        [self.batch, tokens, self.length() - tokens]
    }

    fn length(&self) -> usize {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    /// The segments with their positions.
    fn spans(&self) -> impl Iterator<Item = (Range<usize>, &Segment)> {
        self.segments.iter().scan(0, |start, segment| {
            let span = *start..*start + segment.length;
            *start = span.end;
            Some((span, segment))
        })
    }

    /// The value at a hook, for the positions of the last segment.
    pub(super) fn read(&mut self, handle: &Handle, hook: HookId, cancel: &Cancel) -> Result<Value, Diagnostic> {
        self.evaluate(handle, handle.spec.hook_info(hook).node, cancel)?;
        let value = self.nodes[&handle.spec.hook_info(hook).node].clone();
        match self.spans().last() {
            Some((span, _)) if span.start > 0 => {
                let Some(&dim) = token_dims(&handle.spec, hook).first() else { return Ok(value) };
                let op = Op::Slice { dim: dim as i64, start: Some(span.start as i64), end: None, step: 1 };
                eval(&op, &[&value]).map_err(|error| failed(error.message()))
            }
            _ => Ok(value),
        }
    }

    /// Whether a hook is written at all positions, so that nobody needs what would be computed there.
    fn overwritten(&self, spec: &ModelSpec, node: NodeId) -> bool {
        spec.hook_at(node).is_some_and(|hook| self.segments.iter().all(|segment| segment.writes.contains_key(&hook)))
    }

    fn evaluate(&mut self, handle: &Handle, wanted: NodeId, cancel: &Cancel) -> Result<(), Diagnostic> {
        let spec = &handle.spec;
        let graph = spec.graph();
        let mut needed = vec![false; wanted.index() + 1];
        needed[wanted.index()] = true;
        for at in (0..=wanted.index()).rev() {
            let id = NodeId::new(at);
            if needed[at] && !self.nodes.contains_key(&id) && !self.overwritten(spec, id) {
                graph.node(id).operands.iter().for_each(|operand| needed[operand.index()] = true);
            }
        }
        for (at, _) in needed.iter().enumerate().filter(|(_, needed)| **needed) {
            let id = NodeId::new(at);
            // Weights are taken where they are used, and not kept.
            if self.nodes.contains_key(&id) || matches!(graph.node(id).op, Op::Weight { .. }) {
                continue;
            }
            cancel.check()?;
            let value = match spec.hook_at(id) {
                Some(hook) if self.segments.iter().any(|segment| segment.writes.contains_key(&hook)) => self.set(handle, hook, id)?,
                _ => self.compute(handle, id)?,
            };
            self.nodes.insert(id, value);
        }
        Ok(())
    }

    /// The value at a hook that is written in some segments.
    fn set(&self, handle: &Handle, hook: HookId, id: NodeId) -> Result<Value, Diagnostic> {
        let spec = &handle.spec;
        if let [only] = &self.segments[..] {
            return Ok(only.writes[&hook].clone());
        }
        let mut whole = match self.overwritten(spec, id) {
            // Of scores and patterns, what lies above the diagonal of segments is nobody's: no position sees later ones.
            true => Value::Tensor(self.zeros(spec, hook)?),
            false => self.compute(handle, id)?,
        };
        for (span, segment) in self.spans() {
            let Some(written) = segment.writes.get(&hook) else { continue };
            whole = place(whole, written, &token_dims(spec, hook), span).map_err(|error| failed(error.message()))?;
        }
        Ok(whole)
    }

    fn zeros(&self, spec: &ModelSpec, hook: HookId) -> Result<Tensor, Diagnostic> {
        let ty = spec.hook_type(hook).substitute(&|symbol| self.size(symbol));
        let sizes: Vec<usize> = ty.shape.iter().filter_map(Dim::as_usize).collect();
        let bytes = vec![0; sizes.iter().product::<usize>() * ty.dtype.size()];
        Tensor::from_le_bytes(ty.dtype, sizes, &bytes).ok_or_else(|| failed("the hook has no size"))
    }

    fn compute(&self, handle: &Handle, id: NodeId) -> Result<Value, Diagnostic> {
        let spec = &handle.spec;
        let node = spec.graph().node(id);
        if let Op::Input { name, .. } = &node.op {
            let length = self.length();
            let positions = || (0..self.batch).flat_map(|_| 0..length as i64).collect();
            return match &**name {
                "positions" => Ok(Tensor::new([self.batch, length], positions()).into()),
                name => self.tokens().ok_or_else(|| failed(format!("an applied module has no {name}"))),
            };
        }
        let op = node.op.substitute(&|symbol| self.size(symbol));
        let operands = node.operands.iter().map(|operand| match &spec.graph().node(*operand).op {
            Op::Weight { name, .. } => {
                let decl = spec.weights().iter().find(|decl| decl.name == *name).ok_or_else(|| failed(format!("`{name}` is no weight")))?;
                Ok(Cow::Owned(handle.weights.tensor(decl)?.into()))
            }
            _ => self.nodes.get(operand).map(Cow::Borrowed).ok_or_else(|| failed(format!("node {operand:?} has no value"))),
        });
        let operands: Vec<Cow<'_, Value>> = operands.collect::<Result<_, Diagnostic>>()?;
        eval(&op, &operands.iter().map(|operand| &**operand).collect::<Vec<_>>()).map_err(|error| failed(error.message()))
    }

    /// The token ids of all segments.
    fn tokens(&self) -> Option<Value> {
        let parts: Vec<Value> = self.segments.iter().map(|segment| Some(segment.tokens.clone()?.into())).collect::<Option<_>>()?;
        match &parts[..] {
            [only] => Some(only.clone()),
            _ => eval(&Op::Cat { dim: 1 }, &parts.iter().collect::<Vec<_>>()).ok(),
        }
    }

    fn size(&self, symbol: &str) -> Option<Dim> {
        match symbol {
            "B" => Some(self.batch.into()),
            "T" => Some(self.length().into()),
            _ => None,
        }
    }
}

/// The dimensions of tokens of a hook's value: one, or rows and keys.
fn token_dims(spec: &ModelSpec, hook: HookId) -> Vec<usize> {
    let shape = &spec.hook_type(hook).shape;
    (0..shape.len()).filter(|&at| shape[at].symbols().iter().any(|symbol| &**symbol == "T")).collect()
}

/// `whole` with the positions `span` set to `part`; along a second dimension of tokens, with all up to the end of `span`.
fn place(whole: Value, part: &Value, dims: &[usize], span: Range<usize>) -> Result<Value, irc_ir::eval::EvalError> {
    let update =
        |dim: usize, start: usize, end: usize| Op::Update { dim: dim as i64, start: Some(start as i64), end: Some(end as i64), step: 1 };
    match dims {
        [rows, keys, ..] => {
            let op = Op::Slice { dim: *rows as i64, start: Some(span.start as i64), end: Some(span.end as i64), step: 1 };
            let of_rows = eval(&op, &[&whole])?;
            let set = eval(&update(*keys, 0, span.end), &[&of_rows, part])?;
            eval(&update(*rows, span.start, span.end), &[&whole, &set])
        }
        [rows] => eval(&update(*rows, span.start, span.end), &[&whole, part]),
        [] => Ok(part.clone()),
    }
}
