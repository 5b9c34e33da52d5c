//! Equal values are one value: value numbering with the laws of forwards.
//!
//! A forward is a base and a map from hooks to written values, never a chain of writes. The laws that are used:
//!
//! ```text
//! read i (write i f v)   = v
//! read j (write i f v)   = read j f             unless i reaches j, past what else is written in f
//! apply m (x)            = read m.output (write m.input f x)     for any f of x's shape
//! get i (tuple (x…))     = the i-th x           so that no forward stands in a tuple any more
//! ```

use std::{hash::BuildHasher, ops::Range, rc::Rc};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use irc_ir::{
    graph::{NodeId, Operands},
    infer::Models,
    model::{HookId, ModelSpec},
    op::Op,
    types::{Name, Type},
    verify::Verified,
};
use smallvec::SmallVec;

use crate::maps::{NodeMap, Writes};

/// Which forwards share everything but their writes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Base {
    pub(crate) model: Name,
    /// None for the nameless forward of an applied module, whose tokens nobody looks at.
    pub(crate) tokens: Option<NodeId>,
    pub(crate) batch: usize,
    pub(crate) length: usize,
    /// Where forwards of the same tokens are to be kept apart, which one it is.
    pub(crate) apart: Option<NodeId>,
    /// The forward that it extends.
    pub(crate) past: Option<Box<ForwardValue>>,
    /// The forward that comes from outside: a parameter of a body, or what comes out of a loop.
    pub(crate) given: Option<NodeId>,
}

impl Base {
    fn new(model: &Name, tokens: Option<NodeId>, [batch, length]: [usize; 2]) -> Base {
        Base { model: model.clone(), tokens, batch, length, apart: None, past: None, given: None }
    }
}

/// A forward as a value: what is written where.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ForwardValue {
    pub(crate) base: usize,
    pub(crate) writes: Writes,
}

impl ForwardValue {
    /// Forgets the writes that do not show at a hook.
    pub(crate) fn keep_visible(&mut self, spec: &ModelSpec, hook: HookId) {
        self.keep_visible_by(spec, hook, |written| shown_at(spec, hook, &written));
    }

    /// The same; `shown` says which of several writes show, each of which alone would.
    fn keep_visible_by(&mut self, spec: &ModelSpec, hook: HookId, shown: impl FnOnce(Hooks) -> Rc<[HookId]>) {
        self.writes.retain(|written| spec.reaches(written, hook));
        if self.writes.len() > 1 {
            let shown = shown(self.writes.hooks().collect());
            self.writes.retain(|written| shown.contains(&written));
        }
    }
}

/// The value at a hook of a forward.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct HookValue {
    pub(crate) forward: ForwardValue,
    pub(crate) hook: HookId,
}

impl HookValue {
    /// Whether another is the same value: at the same hook, or at one on the same source, between which nothing is written.
    pub(crate) fn is(&self, spec: &ModelSpec, other: &HookValue) -> bool {
        let source = |hook: HookId| spec.source(spec.hook_info(hook).node);
        // What is written between one of them and the source shows there, and not at the other.
        self.forward == other.forward && (self.hook == other.hook || source(self.hook) == source(other.hook))
    }
}

/// The distinct values of a program.
pub(crate) struct Values {
    /// For each node, the first node that has the same value.
    pub(crate) of: Vec<NodeId>,
    /// What the values are that come out of forwards, by their first node.
    pub(crate) hooks: NodeMap<HookValue>,
    /// What is a range of positions of one of them.
    pub(crate) windows: NodeMap<Window>,
    pub(crate) bases: Vec<Base>,
    /// What the live forwards are, by their nodes.
    pub(crate) forwards: NodeMap<ForwardValue>,
}

/// Some positions of the value at a hook.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Window {
    /// The node of the whole value.
    pub(crate) of: NodeId,
    pub(crate) positions: Range<usize>,
}

/// Hooks that are written.
pub(crate) type Hooks = SmallVec<[HookId; 4]>;

impl Values {
    /// Whether a forward is one that comes from outside, as it is.
    pub(crate) fn comes_from_outside(&self, forward: &ForwardValue) -> bool {
        self.bases[forward.base].given.is_some() && forward.writes.is_empty()
    }
}

struct Numbering<'a> {
    program: &'a Verified,
    values: Values,
    share: bool,
    base_ids: HashMap<Base, usize>,
    /// The first nodes of operations and of values at hooks, which are compared with what they stand for: the graph and the
    /// values have it.
    operations: HashTable<NodeId>,
    reads: HashTable<NodeId>,
    hasher: DefaultHashBuilder,
    /// Which of several written hooks show at a hook, by the base.
    shown: HashMap<(usize, HookId, Hooks), Rc<[HookId]>>,
}

/// Numbers the live values of a program; the others stand for themselves. Unless they `share`, forwards of the same tokens are
/// different values.
pub(crate) fn number(program: &Verified, live: &[bool], share: bool) -> Values {
    let count = program.graph().len();
    let (hooks, windows, forwards) = (NodeMap::new(count), NodeMap::new(count), NodeMap::new(count));
    let values = Values { of: Vec::with_capacity(count), hooks, windows, bases: vec![], forwards };
    let (base_ids, reads, hasher, shown) = Default::default();
    let operations = HashTable::with_capacity(count);
    let mut numbering = Numbering { program, values, share, base_ids, operations, reads, hasher, shown };
    for (id, node) in program.graph().nodes() {
        let value = if live[id.index()] { numbering.value_of(id, &node.op, &node.operands) } else { id };
        numbering.values.of.push(value);
    }
    numbering.values
}

impl Numbering<'_> {
    fn models(&self) -> &Models {
        self.program.models()
    }

    fn value_of(&mut self, id: NodeId, op: &Op, operands: &Operands) -> NodeId {
        let operands: Operands = operands.iter().map(|operand| self.values.of[operand.index()]).collect();
        match op {
            Op::Forward { .. } => self.forward(id, Some(operands[0]), None),
            Op::Extend {} => self.forward(id, Some(operands[1]), Some(Box::new(self.values.forwards[operands[0]].clone()))),
            Op::Write { hook } => {
                let mut forward = self.values.forwards[operands[0]].clone();
                forward.writes.insert(self.hook(&forward, hook), operands[1]);
                self.values.forwards.insert(id, forward);
                id
            }
            Op::Read { hook } => {
                let forward = self.values.forwards[operands[0]].clone();
                let hook = self.hook(&forward, hook);
                self.read(id, forward, hook)
            }
            Op::Apply { model, module } => {
                let spec = self.models()[model].clone();
                let Ok(module) = spec.module(module) else { return id };
                let base = self.applied_base(model, &spec, module.input, self.program.ty(operands[0]));
                let base = self.base(base);
                self.read(id, ForwardValue { base, writes: Writes::one(module.input, operands[0]) }, module.output)
            }
            Op::Get { index } => {
                let whole = self.program.graph().node(operands[0]);
                let part = match &whole.op {
                    Op::Tuple {} => usize::try_from(*index).ok().and_then(|index| whole.operands.get(index)),
                    _ => None,
                };
                match part {
                    Some(part) => self.values.of[part.index()],
                    None => self.first(id, op, &operands),
                }
            }
            Op::Param { .. } | Op::EffectResult { .. } => self.first(id, op, &operands),
            Op::Slice { .. } | Op::Index { .. } => {
                let window = self.window(op, operands[0]);
                let first = self.operation(id, op, &operands);
                if let Some(window) = window.filter(|_| !self.values.windows.contains(first)) {
                    self.values.windows.insert(first, window);
                }
                first
            }
            _ => self.operation(id, op, &operands),
        }
    }

    /// The first node of an operation on values.
    fn operation(&mut self, id: NodeId, op: &Op, operands: &Operands) -> NodeId {
        let (graph, of, hasher) = (self.program.graph(), &self.values.of, &self.hasher);
        let value = |operand: &NodeId| of[operand.index()];
        let same = |other: &NodeId| {
            let other = graph.node(*other);
            other.op == *op && other.operands.len() == operands.len() && other.operands.iter().map(value).eq(operands.iter().copied())
        };
        let hash = |id: &NodeId| {
            let node = graph.node(*id);
            hasher.hash_one((&node.op, node.operands.iter().map(value).collect::<Operands>()))
        };
        *self.operations.entry(hasher.hash_one((op, operands)), same, hash).or_insert(id).get()
    }

    /// The first node of the same operation on the same operands; a forward among them comes from outside.
    fn first(&mut self, id: NodeId, op: &Op, operands: &Operands) -> NodeId {
        let first = self.operation(id, op, operands);
        if first == id && matches!(self.program.ty(id), Type::Forward(_)) {
            self.forward(id, None, None);
        }
        first
    }

    /// A forward without writes: on tokens, after a past, or without tokens from outside.
    fn forward(&mut self, id: NodeId, tokens: Option<NodeId>, past: Option<Box<ForwardValue>>) -> NodeId {
        let Type::Forward(ty) = self.program.ty(id) else { return id };
        let sizes = [&ty.batch, &ty.tokens].map(|size| size.as_usize().unwrap_or(0));
        let (apart, given) = ((!self.share).then_some(id), tokens.is_none().then_some(id));
        let base = self.base(Base { apart, past, given, ..Base::new(&ty.model, tokens, sizes) });
        self.values.forwards.insert(id, ForwardValue { base, writes: Writes::default() });
        id
    }

    /// What a slice or index of a value is, if it is a range of positions of the value at a hook.
    fn window(&self, op: &Op, of: NodeId) -> Option<Window> {
        let shape = &self.program.ty(of).as_tensor()?.shape;
        let size = shape.get(1)?.as_usize()?;
        let (dim, positions) = match op {
            Op::Slice { dim, start, end, step: 1 } => (*dim, part(*start, *end, size)),
            Op::Index { dim, index } => {
                let at = usize::try_from(if *index < 0 { index + size as i64 } else { *index }).ok()?;
                (*dim, at..at + 1)
            }
            _ => return None,
        };
        if place(dim, shape.len())? != 1 {
            return None;
        }
        if let Some(outer) = self.values.windows.get(of) {
            // An index has taken the dimension away.
            let whole = self.program.ty(outer.of).as_tensor()?.rank() == shape.len();
            let begin = outer.positions.start;
            return whole.then(|| Window { of: outer.of, positions: begin + positions.start..begin + positions.end });
        }
        let HookValue { forward, hook } = self.values.hooks.get(of)?;
        let base = &self.values.bases[forward.base];
        let spec = &self.models()[&base.model];
        // The positions of an applied module may be several dimensions, those of scores are two.
        let flat = spec.hook_type(*hook).rank() == shape.len() && size == base.length && !spec.is_square(*hook);
        flat.then_some(Window { of, positions })
    }

    fn read(&mut self, id: NodeId, mut forward: ForwardValue, hook: HookId) -> NodeId {
        if let Some(written) = forward.writes.get(hook) {
            return written;
        }
        let spec = self.models()[&self.values.bases[forward.base].model].clone();
        let (base, shown) = (forward.base, &mut self.shown);
        forward.keep_visible_by(&spec, hook, |written| {
            let known = shown.entry((base, hook, written));
            known.or_insert_with_key(|(_, _, written)| shown_at(&spec, hook, written)).clone()
        });
        let value = HookValue { forward, hook };
        let (hooks, hasher) = (&self.values.hooks, &self.hasher);
        let hash = hasher.hash_one(&value);
        let first = *self.reads.entry(hash, |other| hooks[*other] == value, |id| hasher.hash_one(&hooks[*id])).or_insert(id).get();
        if first == id {
            self.values.hooks.insert(id, value);
        }
        first
    }

    fn hook(&self, forward: &ForwardValue, name: &str) -> HookId {
        let model = &self.values.bases[forward.base].model;
        self.models()[model].hook(name).unwrap_or_else(|error| unreachable!("a verified program reads hooks that exist: {error}"))
    }

    fn base(&mut self, base: Base) -> usize {
        let next = self.values.bases.len();
        let index = *self.base_ids.entry(base.clone()).or_insert(next);
        if index == next {
            self.values.bases.push(base);
        }
        index
    }

    /// The rows of an applied module: what precedes the hook's own dimensions; one sequence of all positions where that
    /// is not [batch, tokens].
    fn applied_base(&self, model: &Name, spec: &ModelSpec, input: HookId, given: &Type) -> Base {
        let shape: Vec<usize> = given.as_tensor().map(|ty| ty.shape.iter().filter_map(|dim| dim.as_usize()).collect()).unwrap_or_default();
        let tail = spec.hook_type(input).rank().saturating_sub(2);
        let leading = &shape[..shape.len().saturating_sub(tail)];
        let sizes = match leading {
            [batch, length] => [*batch, *length],
            other => [1, other.iter().product()],
        };
        Base::new(model, None, sizes)
    }
}

/// The range of a dimension of this size that a slice takes, as in Python.
pub(crate) fn part(start: Option<i64>, end: Option<i64>, size: usize) -> Range<usize> {
    let place = |bound: i64| {
        let size = size as i64;
        (if bound < 0 { bound.saturating_add(size) } else { bound }).clamp(0, size) as usize
    };
    let (start, end) = (start.map_or(0, place), end.map_or(size, place));
    start..end.max(start)
}

/// The place of a dimension that may be counted from the last.
pub(crate) fn place(dim: i64, rank: usize) -> Option<usize> {
    usize::try_from(if dim < 0 { dim + rank as i64 } else { dim }).ok().filter(|dim| *dim < rank)
}

/// Those of the written hooks that the value at a hook depends on while all of them are written: a write that others
/// overwrite on every way to the hook does not show there.
fn shown_at(spec: &ModelSpec, hook: HookId, written: &[HookId]) -> Rc<[HookId]> {
    let end = spec.hook_info(hook).node;
    // Nothing before the first write depends on any.
    let begin = written.iter().map(|written| spec.hook_info(*written).node).min().unwrap_or(end);
    let mut seen = vec![false; (end.index() + 1).saturating_sub(begin.index())];
    let mut shown = vec![];
    let mut stack = vec![end];
    while let Some(node) = stack.pop() {
        if node < begin || std::mem::replace(&mut seen[node.index() - begin.index()], true) {
            continue;
        }
        match spec.hook_at(node).filter(|at| written.contains(at)) {
            Some(at) => shown.push(at),
            None => stack.extend(&spec.graph().node(node).operands),
        }
    }
    shown.into()
}
