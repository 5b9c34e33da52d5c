//! Smaller programs that still show something: delta debugging of programs.
//!
//! A program that goes wrong somewhere is cut down, step by step, as long as the same still happens: effects are left out,
//! values are replaced by values that they are made of or by zeros, writes are dropped, loops get shorter, and what nobody needs
//! any more disappears. The steps and their order depend on the program only, so the same question gives the same answer.
//!
//! ```
//! use irc_ir::{infer::Models, op::Op, text::{parse, print}, verify::verify};
//! use irc_passes::reduce::{Judge, reduce};
//!
//! struct HasExp;
//! impl Judge for HasExp {
//!     type Error = std::convert::Infallible;
//!     fn types(&mut self, candidate: &irc_ir::graph::Graph) -> Option<irc_ir::verify::Types> {
//!         verify(candidate.clone(), &Models::new()).ok().map(|verified| verified.types().clone())
//!     }
//!     fn is_interesting(&mut self, candidate: &irc_ir::graph::Graph) -> Result<bool, Self::Error> {
//!         Ok(candidate.nodes().any(|(_, node)| matches!(node.op, Op::Exp {})))
//!     }
//! }
//!
//! let text = r#"graph @g { %x = add([1.0, 2.0], 3.0)  %y = exp(mul(%x, %x))  save %y as "y"  save sub(%y, %x) as "z" }"#;
//! let Ok(small) = reduce(&parse(text).into_result()?, &mut HasExp);
//! assert!(print(&small, None).contains("exp(") && small.effects.len() == 1 && small.len() <= 2);
//! # Ok::<(), irc_ir::diagnostic::Diagnostics>(())
//! ```

use std::collections::{BTreeMap, BTreeSet};

use irc_ir::{
    attr::Literal,
    graph::{Body, Effect, EffectKind, Graph, NodeId},
    op::Op,
    tensor::Tensor,
    types::{DType, Type},
    verify::{LoopId, Types},
};

/// Whoever wants to see a smaller program.
pub trait Judge {
    /// Why it cannot be said whether a program is interesting. It ends the reduction.
    type Error;

    /// The types of the values of a candidate; nothing if it does not verify.
    fn types(&mut self, candidate: &Graph) -> Option<Types>;

    /// Whether a candidate that verifies still shows what is looked for.
    ///
    /// # Errors
    /// If that cannot be found out.
    fn is_interesting(&mut self, candidate: &Graph) -> Result<bool, Self::Error>;
}

/// The smallest program that is found on the way down from one that is interesting: no single step makes it smaller and leaves it
/// interesting.
///
/// # Errors
/// Those of the judge.
pub fn reduce<J: Judge>(program: &Graph, judge: &mut J) -> Result<Graph, J::Error> {
    let mut reduction = Reduction { now: program.clone(), types: judge.types(program).unwrap_or_default(), judge };
    loop {
        let before = size(&reduction.now);
        for kind in Kind::ALL {
            let mut at = 0;
            // Bodies of loops after what is around them: of a loop that disappears nothing needs to be made smaller.
            while let Some(path) = paths(&reduction.now).into_iter().nth(at) {
                reduction.minimize(kind, &path)?;
                at += 1;
            }
        }
        if size(&reduction.now) >= before {
            return Ok(reduction.now);
        }
    }
}

/// The loops around a graph, from the outside; none for the program itself.
type Path = Vec<LoopId>;

/// The kinds of steps, in the order in which they are tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    DropEffects,
    DropGuards,
    ByOperand,
    ByZeros,
    ShortenLoops,
    DropWhatIsDead,
}

impl Kind {
    const ALL: [Kind; 6] = [Kind::DropEffects, Kind::DropGuards, Kind::ByOperand, Kind::ByZeros, Kind::ShortenLoops, Kind::DropWhatIsDead];
}

/// One step on one graph.
#[derive(Clone, Debug)]
enum Edit {
    DropEffect(usize),
    DropGuard(usize),
    /// A value everywhere replaced by an earlier one.
    Replace(NodeId, NodeId),
    /// A value made by another operation without operands.
    Become(NodeId, Op),
    /// A loop that runs so often.
    Trip(LoopId, i64),
    /// Nothing but what follows each step: dead values are left out.
    CleanUp,
}

struct Reduction<'j, J> {
    now: Graph,
    types: Types,
    judge: &'j mut J,
}

impl<J: Judge> Reduction<'_, J> {
    /// Applies as many steps of a kind as possible to the graph at a path: all at once, then halves, then quarters, down to
    /// single ones.
    fn minimize(&mut self, kind: Kind, path: &Path) -> Result<(), J::Error> {
        let mut chunk = self.edits(kind, path).len();
        while chunk > 0 {
            let mut start = 0;
            loop {
                let edits = self.edits(kind, path);
                let Some(some) = edits.get(start..(start + chunk).min(edits.len())).filter(|some| !some.is_empty()) else { break };
                // After a step that was taken, those that followed it have moved to its place.
                if !self.attempt(path, some)? {
                    start += chunk;
                }
            }
            chunk /= 2;
        }
        Ok(())
    }

    /// Applies steps, if what comes out is smaller and still interesting.
    fn attempt(&mut self, path: &Path, edits: &[Edit]) -> Result<bool, J::Error> {
        let Some(candidate) = at_path(&self.now, path, &|graph| edited(graph, edits)) else { return Ok(false) };
        let candidate = without_unused_models(candidate);
        if size(&candidate) >= size(&self.now) {
            return Ok(false);
        }
        let Some(types) = self.judge.types(&candidate) else { return Ok(false) };
        let better = self.judge.is_interesting(&candidate)?;
        if better {
            (self.now, self.types) = (candidate, types);
        }
        Ok(better)
    }

    /// The steps of a kind at a path, the last values first: what depends on nothing else goes first.
    fn edits(&self, kind: Kind, path: &Path) -> Vec<Edit> {
        let (mut graph, mut types) = (&self.now, &self.types);
        for at in path {
            let (Some(body), Some(inside)) = (body_of(graph, *at), types.bodies.get(at)) else { return vec![] };
            (graph, types) = (body.graph(), inside);
        }
        let live = graph.live();
        let values = || graph.nodes().rev().filter(|(id, node)| live[id.index()] && !matches!(node.op, Op::Param { .. }));
        let ty = |id: NodeId| types.nodes.get(id.index());
        match kind {
            Kind::DropEffects => (0..graph.effects.len()).rev().map(Edit::DropEffect).collect(),
            Kind::DropGuards => (0..graph.effects.len()).filter(|at| graph.effects[*at].guard.is_some()).map(Edit::DropGuard).collect(),
            Kind::ByOperand => {
                let of = |(id, node): (NodeId, &irc_ir::graph::Node)| {
                    let alike = node.operands.iter().filter(move |operand| ty(**operand).is_some() && ty(**operand) == ty(id));
                    alike.map(move |operand| Edit::Replace(id, *operand)).collect::<Vec<_>>()
                };
                values().flat_map(of).collect()
            }
            Kind::ByZeros => {
                let constant = |op: &Op| matches!(op, Op::Const { .. } | Op::Full { .. });
                let others = values().filter(|(_, node)| !constant(&node.op));
                others.filter_map(|(id, _)| Some(Edit::Become(id, zeros(ty(id)?)?))).collect()
            }
            Kind::ShortenLoops => loops(graph)
                .into_iter()
                .filter_map(|at| trip_of(graph, at).map(|trip| (at, trip)))
                .flat_map(|(at, trip)| [0, 1, trip / 2].into_iter().filter(move |less| *less < trip).map(move |less| Edit::Trip(at, less)))
                .collect(),
            Kind::DropWhatIsDead => vec![Edit::CleanUp],
        }
    }
}

/// How large a program is: its values, effects and guards, then how often loops run. An operation on something counts more than a
/// constant.
fn size(graph: &Graph) -> (usize, u64) {
    let constant = |op: &Op| matches!(op, Op::Const { .. } | Op::Full { .. });
    let mut size = (0, 0u64);
    for (_, node) in graph.nodes() {
        size.0 += if constant(&node.op) { 1 } else { 2 };
    }
    for effect in &graph.effects {
        size.0 += 2 + usize::from(effect.guard.is_some());
    }
    size.0 += graph.models.len();
    for at in loops(graph) {
        size.1 = size.1.saturating_add(trip_of(graph, at).unwrap_or(0).max(0) as u64);
        if let Some(body) = body_of(graph, at) {
            let inside = self::size(body.graph());
            size = (size.0 + inside.0, size.1.saturating_add(inside.1));
        }
    }
    size
}

/// The loops of a graph, those inside others not among them.
fn loops(graph: &Graph) -> Vec<LoopId> {
    let nodes = graph.nodes().filter(|(_, node)| matches!(node.op, Op::Loop { .. })).map(|(id, _)| LoopId::Node(id));
    let effects = graph.effects.iter().enumerate().filter(|(_, effect)| matches!(effect.kind, EffectKind::Loop { .. }));
    nodes.chain(effects.map(|(at, _)| LoopId::Effect(at))).collect()
}

/// The program itself, then its loops from the outside to the inside.
fn paths(program: &Graph) -> Vec<Path> {
    let mut paths: Vec<(Path, &Graph)> = vec![(vec![], program)];
    let mut at = 0;
    while at < paths.len() {
        let (path, graph) = paths[at].clone();
        for inner in loops(graph) {
            if let Some(body) = body_of(graph, inner) {
                paths.push((path.iter().copied().chain([inner]).collect(), body.graph()));
            }
        }
        at += 1;
    }
    paths.into_iter().map(|(path, _)| path).collect()
}

fn loop_of(graph: &Graph, at: LoopId) -> Option<(i64, &Body)> {
    match at {
        LoopId::Node(id) => match &graph.node(id).op {
            Op::Loop { trip, body } => Some((*trip, body)),
            _ => None,
        },
        LoopId::Effect(at) => match &graph.effects.get(at)?.kind {
            EffectKind::Loop { trip, body } => Some((*trip, body)),
            EffectKind::Save { .. } | EffectKind::Log { .. } | EffectKind::Call { .. } | EffectKind::Stop { .. } => None,
        },
    }
}

fn body_of(graph: &Graph, at: LoopId) -> Option<&Body> {
    loop_of(graph, at).map(|(_, body)| body)
}

fn trip_of(graph: &Graph, at: LoopId) -> Option<i64> {
    loop_of(graph, at).map(|(trip, _)| trip)
}

/// The graph with another loop in the place of one.
fn with_loop(graph: &Graph, at: LoopId, trip: i64, body: Body) -> Graph {
    let mut graph = graph.clone();
    match at {
        LoopId::Node(id) => graph.set_op(id, Op::Loop { trip, body }),
        LoopId::Effect(at) => graph.effects[at].kind = EffectKind::Loop { trip, body },
    }
    graph
}

/// The program in which the graph at a path is changed. Nothing, if it cannot be, or is no body any more.
fn at_path(graph: &Graph, path: &[LoopId], change: &dyn Fn(&Graph) -> Option<Graph>) -> Option<Graph> {
    let Some((first, rest)) = path.split_first() else { return change(graph) };
    let (trip, body) = loop_of(graph, *first)?;
    let inside = at_path(body.graph(), rest, change)?;
    Some(with_loop(graph, *first, trip, Body::new(inside).ok()?))
}

/// Zeros of a type.
fn zeros(ty: &Type) -> Option<Op> {
    let tensor = ty.as_tensor()?;
    tensor.shape.iter().all(|dim| dim.as_known().is_some()).then(|| {
        let zero = if tensor.dtype == DType::Bool { Tensor::scalar(false) } else { Tensor::scalar(0i64) };
        Op::Full { shape: tensor.shape.iter().cloned().collect(), value: Literal::from(&zero), dtype: Some(tensor.dtype) }
    })
}

/// The graph after some steps, without what is dead then. Nothing, if the result of an effect is needed that is dropped.
fn edited(graph: &Graph, edits: &[Edit]) -> Option<Graph> {
    let mut dropped = BTreeSet::new();
    let mut unguarded = BTreeSet::new();
    let mut replaced: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    let mut ops: BTreeMap<NodeId, Op> = BTreeMap::new();
    let mut shortened = vec![];
    for edit in edits {
        match edit {
            Edit::DropEffect(at) => drop(dropped.insert(*at)),
            Edit::DropGuard(at) => drop(unguarded.insert(*at)),
            Edit::Replace(id, by) => drop(replaced.entry(*id).or_insert(*by)),
            Edit::Become(id, op) => drop(ops.insert(*id, op.clone())),
            Edit::Trip(at, trip) => shortened.push((*at, *trip)),
            Edit::CleanUp => {}
        }
    }
    let shorter = shortened.into_iter().try_fold(graph.clone(), |graph, (at, trip)| {
        let body = body_of(&graph, at)?.clone();
        Some(with_loop(&graph, at, trip, body))
    })?;
    // Each value is replaced by an earlier one, so this ends.
    let value = |mut id: NodeId| {
        while let Some(by) = replaced.get(&id).filter(|_| !ops.contains_key(&id)) {
            id = *by;
        }
        id
    };
    let kept: Vec<usize> = (0..shorter.effects.len()).filter(|at| !dropped.contains(at)).collect();
    let effect = |at: &usize| {
        let effect = shorter.effects[*at].map(value);
        if unguarded.contains(at) { Effect { guard: None, ..effect } } else { effect }
    };
    let effects: Vec<Effect> = kept.iter().map(effect).collect();

    let mut live = vec![false; shorter.len()];
    let roots = effects.iter().flat_map(Effect::uses).chain(shorter.results.iter().copied().map(value)).chain(shorter.until.map(value));
    roots.for_each(|id| live[id.index()] = true);
    let operands = |id: NodeId| if ops.contains_key(&id) { vec![] } else { shorter.node(id).operands.iter().copied().map(value).collect() };
    for (id, node) in shorter.nodes().rev() {
        live[id.index()] |= matches!(node.op, Op::Param { .. });
        if live[id.index()] {
            operands(id).into_iter().for_each(|operand: NodeId| live[operand.index()] = true);
        }
    }
    let mut new = Graph::new(shorter.name.clone());
    new.models = shorter.models.clone();
    let mut moved: Vec<Option<NodeId>> = vec![None; shorter.len()];
    for (id, node) in shorter.nodes().filter(|(id, _)| live[id.index()]) {
        let op = match ops.get(&id).unwrap_or(&node.op) {
            Op::EffectResult { entry } => {
                let entry = kept.iter().position(|at| Ok(*at) == usize::try_from(*entry))?;
                Op::EffectResult { entry: i64::try_from(entry).ok()? }
            }
            op => op.clone(),
        };
        let operands = operands(id).into_iter().map(|operand| moved[operand.index()]).collect::<Option<Vec<_>>>()?;
        let made = new.add(op, operands, shorter.span(id).clone());
        if let Some(label) = shorter.label(id) {
            new.set_label(made, label.clone());
        }
        moved[id.index()] = Some(made);
    }
    let place = |id: NodeId| moved[value(id).index()].unwrap_or(id);
    new.effects = effects.iter().map(|effect| effect.map(place)).collect();
    new.results = shorter.results.iter().copied().map(place).collect();
    new.until = shorter.until.map(place);
    Some(new)
}

/// The program without the models that it does not name.
fn without_unused_models(mut graph: Graph) -> Graph {
    fn name<'g>(graph: &'g Graph, used: &mut BTreeSet<&'g str>) {
        for (_, node) in graph.nodes() {
            match &node.op {
                Op::Forward { model } | Op::Apply { model, .. } => drop(used.insert(model)),
                Op::Param { ty: Some(ty), .. } | Op::Call { returns: ty, .. } | Op::List { of: Some(ty) } => in_type(ty, used),
                _ => {}
            }
        }
        graph.bodies().for_each(|(_, body)| name(body.graph(), used));
    }
    fn in_type<'g>(ty: &'g Type, used: &mut BTreeSet<&'g str>) {
        match ty {
            Type::Forward(forward) => drop(used.insert(&forward.model)),
            Type::Tuple(parts) => parts.iter().for_each(|part| in_type(part, used)),
            Type::List(part) => in_type(part, used),
            Type::Tensor(_) | Type::Str | Type::Opaque => {}
        }
    }
    let mut used = BTreeSet::new();
    name(&graph, &mut used);
    let used: BTreeSet<String> = used.into_iter().map(str::to_owned).collect();
    graph.models.retain(|model| used.contains(&*model.name));
    graph
}
