//! The tree of lanes: which rows are the same up to which stage and which position.
//!
//! A lane branches off its parent where the first thing differs: a written value, or in a causal model a token. What a write
//! leaves as it is is found by comparing the written value with the one that would be there without it, position by position:
//! an update keeps what is outside of it, and two forwards have the same value where one lane has made both.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use irc_ir::{
    attr::Literal,
    graph::NodeId,
    model::{HookId, ModelSpec, StageKind},
    op::Op,
    plan::{Lane, LaneId, Past, Write, lane_at},
    verify::Verified,
};
use smallvec::SmallVec;

use super::Target;
use crate::{
    edits::edit,
    maps::NodeMap,
    values::{Base, ForwardValue, HookValue, Values, part, place},
};

/// What makes lanes one: parent, base, first stage and what is written there.
type LaneKey = (LaneId, usize, usize, Written);

/// What is written at hooks of a stage.
type Written = SmallVec<[(HookId, NodeId); 2]>;

/// The most values that are looked at to see what a write changes.
const MOST: usize = 64;

/// The most writes in one stage whose extent is looked for.
const MOST_WRITES: usize = 8;

/// How prompts begin: the place of what is before the last token of the beginning, and that token, of each sequence. What is known
/// of a beginning is its own place, and the first base that has it.
type Beginning = (usize, SmallVec<[i64; 4]>);

/// The tree.
pub(super) struct Lanes<'a> {
    program: &'a Verified,
    values: &'a Values,
    target: &'a Target,
    pub(super) lanes: Vec<Lane>,
    known: HashMap<LaneKey, LaneId>,
    /// The first lane of each base.
    roots: Vec<LaneId>,
    /// The base of each lane.
    base_of: Vec<usize>,
    /// The lane of each value at a hook, and of each forward that is kept, by its node.
    of: NodeMap<LaneId>,
    /// Writes that change nothing.
    pub(super) identities: Vec<(HookId, NodeId)>,
    /// Hooks of lanes whose values are given, although they could be made by chains of operations.
    unspliced: BTreeSet<(LaneId, HookId)>,
}

impl<'a> Lanes<'a> {
    /// All lanes that the values of a program, and the forwards that are `kept`, are in. Which they are does not depend on what is
    /// `unspliced`.
    pub(super) fn new(
        program: &'a Verified,
        values: &'a Values,
        target: &'a Target,
        kept: impl Iterator<Item = NodeId>,
        unspliced: BTreeSet<(LaneId, HookId)>,
    ) -> Lanes<'a> {
        let (known, of) = (HashMap::new(), NodeMap::new(program.graph().len()));
        let (roots, base_of, identities) = Default::default();
        let mut lanes = Lanes { program, values, target, lanes: vec![], known, roots, base_of, of, identities, unspliced };
        lanes.grow_roots();
        // What is written comes before what shows it, so that the lanes of all that a write is compared with are there.
        for (node, hook) in values.hooks.iter() {
            let lane = lanes.find(&hook.forward);
            lanes.of.insert(node, lane);
        }
        for forward in kept {
            let lane = lanes.find(&values.forwards[forward]);
            lanes.of.insert(forward, lane);
        }
        lanes.go_on();
        lanes
    }

    /// Gives lanes their past.
    fn go_on(&mut self) {
        let past = |lanes: &mut Lanes<'_>, base: &Base| match (&base.past, base.given) {
            (Some(past), _) => Some(Past::Lane(lanes.find(past))),
            (None, given) => given.map(Past::Before),
        };
        let pasts: Vec<Option<Past>> = self.values.bases.iter().map(|base| past(self, base)).collect();
        for (lane, base) in self.lanes.iter_mut().zip(&self.base_of) {
            lane.past = pasts[*base];
        }
    }

    /// The lane of the value at a hook of a forward, or of a forward that is kept.
    pub(super) fn of(&self, value: NodeId) -> LaneId {
        self.of[value]
    }

    /// One lane for each base. Of tokens that begin like those of an earlier base, the beginning is that base's.
    fn grow_roots(&mut self) {
        let mut beginnings: HashMap<Beginning, (usize, LaneId)> = HashMap::new();
        let models: Vec<_> = self.program.models().keys().collect();
        for (at, base) in self.values.bases.iter().enumerate() {
            let id = LaneId(self.lanes.len() as u32);
            let Base { model, tokens, batch, length, given, .. } = base.clone();
            let (mut parent, mut first) = (None, 0);
            let sharing = self.target.strategy.share && self.target.strategy.prefixes && self.program.models()[&model].causal();
            if sharing
                && base.past.is_none()
                && let Some(ids) = tokens.and_then(|tokens| self.constant_ids(tokens, batch * length))
            {
                // The model and the number of sequences come before the first token.
                let model = models.iter().position(|name| **name == model).unwrap_or(0);
                let next = beginnings.len() + 1;
                let (mut place, _) = *beginnings.entry((0, [model as i64, batch as i64].into_iter().collect())).or_insert((next, id));
                for at in 0..length {
                    let column = (0..batch).map(|row| ids[row * length + at]).collect();
                    let next = beginnings.len() + 1;
                    let (own, maker) = *beginnings.entry((place, column)).or_insert((next, id));
                    if maker != id {
                        (parent, first) = (Some(maker), at + 1);
                    }
                    place = own;
                }
            }
            self.lanes.push(Lane { model, tokens, batch, length, parent, stage: 0, first, writes: vec![], past: None, given });
            self.roots.push(id);
            self.base_of.push(at);
        }
    }

    fn constant_ids(&self, tokens: NodeId, count: usize) -> Option<Vec<i64>> {
        match &self.program.graph().node(tokens).op {
            Op::Const { value: Literal::Tensor(tensor) } => {
                tensor.to_tensor().into_values::<i64>().filter(|ids| ids.len() == count && count > 0)
            }
            _ => None,
        }
    }

    /// The lane in which a forward shows its writes.
    fn find(&mut self, forward: &ForwardValue) -> LaneId {
        let mut lane = self.roots[forward.base];
        if forward.writes.is_empty() {
            return lane;
        }
        let spec = &self.program.models()[&self.values.bases[forward.base].model];
        let stage = |hook: HookId| spec.hook_info(hook).stage;
        let mut writes: Written = forward.writes.iter().collect();
        writes.sort_by_key(|(hook, _)| stage(*hook));
        for writes in writes.chunk_by(|(a, _), (b, _)| stage(*a) == stage(*b)) {
            lane = self.child(forward, lane, stage(writes[0].0), writes.into());
        }
        lane
    }

    /// The lane of a forward that begins at a stage.
    fn child(&mut self, forward: &ForwardValue, parent: LaneId, stage: usize, writes: Written) -> LaneId {
        let key = (parent, forward.base, stage, writes);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let (mut kept, mut first) = (Written::new(), usize::MAX);
        for &(hook, value) in &key.3 {
            match self.first_change(forward, hook, value, key.3.len()) {
                Some(change) => {
                    kept.push((hook, value));
                    first = first.min(change);
                }
                None => self.identities.push((hook, value)),
            }
        }
        let lane = if kept.is_empty() { parent } else { self.branch(forward, (parent, forward.base, stage, kept), first) };
        self.known.insert(key, lane);
        lane
    }

    /// A lane whose writes all change something, from the position `first` on.
    fn branch(&mut self, forward: &ForwardValue, key: LaneKey, first: usize) -> LaneId {
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let id = LaneId(self.lanes.len() as u32);
        let edit = |hook: HookId| {
            let chains = self.target.splices && self.target.strategy.splice && !self.unspliced.contains(&(id, hook));
            self.target.edits.then(|| edit(self.program, self.values, forward, hook, chains)).flatten()
        };
        let write = |&(hook, value): &(HookId, NodeId)| {
            let edit = edit(hook);
            let (value, from) = if edit.is_none() { self.tail(forward, hook, value, first) } else { (value, 0) };
            Write { hook, value, from, edit }
        };
        let writes = key.3.iter().map(write).collect();
        let Base { model, tokens, batch, length, given, .. } = self.values.bases[forward.base].clone();
        let parent = Some(key.0);
        self.lanes.push(Lane { model, tokens, batch, length, parent, stage: key.2, first, writes, past: None, given });
        self.base_of.push(forward.base);
        self.known.insert(key, id);
        id
    }

    /// What a written value is from the first position on that it changes, and which position that is: of an update of all later
    /// positions, the new value alone, so that nobody has to compute the rest.
    fn tail(&self, forward: &ForwardValue, hook: HookId, value: NodeId, first: usize) -> (NodeId, usize) {
        let whole = (value, 0);
        let node = self.program.graph().node(value);
        let (Op::Update { dim, start, end, step: 1 }, [of, new]) = (&node.op, node.operands.as_slice()) else { return whole };
        let spec = &self.program.models()[&self.values.bases[forward.base].model];
        let (Some(all), Some(own)) = (self.program.ty(*of).as_tensor(), self.program.ty(*new).as_tensor()) else { return whole };
        let length = self.values.bases[forward.base].length;
        let at = part(*start, *end, length);
        // In attention, earlier positions may be looked at once more.
        let stage = &spec.stages()[spec.hook_info(hook).stage];
        let positions =
            place(*dim, all.rank()) == Some(1) && matches!(stage.kind, StageKind::Positionwise) && all.shape[1].as_usize() == Some(length);
        let fits = own.dtype == all.dtype
            && own.rank() == all.rank()
            && own.shape.iter().zip(&all.shape).enumerate().all(|(dim, (own, all))| match dim {
                1 => own.as_usize() == Some(at.len()),
                _ => own == all,
            });
        let reaches = at.start <= first && at.end == length && !at.is_empty();
        if positions && fits && reaches { (self.values.of[new.index()], at.start) } else { whole }
    }

    /// The first position at which a written value may differ from what the forward would show at the hook without that
    /// write; nothing if there is none.
    fn first_change(&mut self, forward: &ForwardValue, hook: HookId, value: NodeId, writes: usize) -> Option<usize> {
        let base = &self.values.bases[forward.base];
        if !self.target.strategy.cone || base.tokens.is_none() || writes > MOST_WRITES {
            return Some(0);
        }
        let spec = self.program.models()[&base.model].clone();
        let length = base.length;
        let mut own = forward.clone();
        own.writes.remove(hook);
        own.keep_visible(&spec, hook);
        let lane = self.find(&own);
        let own = HookValue { forward: own, hook };
        let square = spec.is_square(hook);
        let mut walk = Walk { lanes: self, spec: &spec, own: &own, lane, stage: spec.hook_info(hook).stage, square, visited: 0 };
        let change = walk.first_change(value, &mut vec![], 0..length)?;
        Some(if spec.causal() && !square { change } else { 0 })
    }
}

/// Compares a written value with the one that is there without it.
struct Walk<'l, 'a> {
    lanes: &'l Lanes<'a>,
    spec: &'l ModelSpec,
    /// What is there without the write, and its lane.
    own: &'l HookValue,
    lane: LaneId,
    stage: usize,
    /// Whether positions are not the second dimension.
    square: bool,
    visited: usize,
}

/// A slice: dimension, range and step.
type Part = (usize, std::ops::Range<usize>, i64);

impl Walk<'_, '_> {
    /// The first of `positions` at which `value` may not be the part of the own value that `parts` cut out.
    fn first_change(&mut self, value: NodeId, parts: &mut Vec<Part>, positions: std::ops::Range<usize>) -> Option<usize> {
        let values = self.lanes.values;
        let value = values.of[value.index()];
        let unknown = Some(positions.start);
        self.visited += 1;
        if self.visited > MOST {
            return unknown;
        }
        if let Some(other) = values.hooks.get(value) {
            return if other.is(self.spec, self.own) && parts.is_empty() {
                None
            } else if other.hook == self.own.hook && parts.is_empty() {
                self.first_other_lane(self.lanes.of.get(value).copied(), positions)
            } else {
                unknown
            };
        }
        let node = self.lanes.program.graph().node(value);
        match &node.op {
            Op::Slice { .. } | Op::Unsqueeze { .. } => match (self.slice(value), parts.last()) {
                (Some((whole, own)), Some(last)) if own == *last => {
                    parts.pop();
                    let change = self.first_change(whole, parts, positions);
                    parts.push(own);
                    change
                }
                _ => unknown,
            },
            Op::Update { dim, start, end, step } => {
                let (whole, new) = (node.operands[0], node.operands[1]);
                let Some(inside) = self.part_of(whole, *dim, *start, *end, *step) else { return unknown };
                // Positions are cut only as long as they are those of the hook.
                let cut = match parts.iter().any(|(dim, _, _)| *dim == 1) {
                    false if inside.0 == 1 && !self.square => inside.1.clone(),
                    _ => positions.clone(),
                };
                let outside = self.first_change(whole, parts, positions);
                if cut.is_empty() {
                    return outside;
                }
                parts.push(inside);
                let inside = self.first_change(new, parts, cut);
                parts.pop();
                [outside, inside].into_iter().flatten().min()
            }
            _ => unknown,
        }
    }

    /// What a value is a slice of, and which: an index whose dimension is put back is one, too.
    fn slice(&self, value: NodeId) -> Option<(NodeId, Part)> {
        let node = |value: NodeId| self.lanes.program.graph().node(self.lanes.values.of[value.index()]);
        let outer = node(value);
        match &outer.op {
            Op::Slice { dim, start, end, step } => {
                let whole = outer.operands[0];
                Some((whole, self.part_of(whole, *dim, *start, *end, *step)?))
            }
            Op::Unsqueeze { dim } => {
                let inner = node(outer.operands[0]);
                let (Op::Index { dim: gone, index }, Some(&whole)) = (&inner.op, inner.operands.first()) else { return None };
                let rank = self.lanes.program.ty(whole).as_tensor()?.rank();
                let end = if *index == -1 { None } else { index.checked_add(1) };
                let back = place(*dim, rank)? == place(*gone, rank)?;
                back.then(|| Some((whole, self.part_of(whole, *gone, Some(*index), end, 1)?))).flatten()
            }
            _ => None,
        }
    }

    /// A part of a dimension of a value.
    fn part_of(&self, whole: NodeId, dim: i64, start: Option<i64>, end: Option<i64>, step: i64) -> Option<Part> {
        let shape = &self.lanes.program.ty(whole).as_tensor()?.shape;
        let dim = place(dim, shape.len())?;
        Some((dim, part(start, end, shape[dim].as_usize()?), step))
    }

    /// The first of some positions that another lane has made in the own lane than in `lane`.
    fn first_other_lane(&self, lane: Option<LaneId>, positions: std::ops::Range<usize>) -> Option<usize> {
        let (lanes, Some(lane)) = (&self.lanes.lanes, lane) else { return Some(positions.start) };
        let of = |lane: LaneId| &lanes[lane.index()];
        // A value of fewer positions may stand for more of them by being repeated.
        let fits = of(lane).batch == of(self.lane).batch && positions.end <= of(lane).length;
        if !fits || of(lane).model != of(self.lane).model {
            return Some(positions.start);
        }
        let mut at = positions.start;
        while at < positions.end {
            let ((own, own_end), (other, end)) = (lane_at(lanes, self.lane, self.stage, at), lane_at(lanes, lane, self.stage, at));
            if own != other {
                return Some(at);
            }
            at = own_end.min(end);
        }
        None
    }
}
