//! The work of a stage: its calls of the engine, or its attention.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    rc::Rc,
};

use irc_ir::{
    graph::NodeId,
    model::{Attention, HookId, ModelSpec, StageKind},
    op::Op,
    plan::{Edit, Schedule, StageStep},
    types::{DType, Dim, Name, Type, elements},
    verify::Verified,
};

use super::{Product, Work, bytes_of_a_token, known, tokens};
use crate::{
    Target,
    calls::{self, EngineCall, Move},
    takes::{self, Takes, is_wanted},
};

/// What a stage was found to do, for the memory that it takes.
#[derive(Default)]
pub(super) struct Ran {
    /// Tensors that it makes of its inputs or gets from the engine: by node, the bytes of a token and the tokens of each piece.
    pub(super) made: Vec<(NodeId, u64, Vec<u64>)>,
    /// Bytes beside them, while it runs.
    pub(super) beside: u64,
}

/// A stage as far as its lanes and tokens do not matter: which model and stage, what is taken, set, edited and wanted.
type Form = (Name, usize, Vec<NodeId>, Vec<(HookId, bool)>, Vec<NodeId>);

/// What an engine is to do for a stage, for any number of tokens.
enum Planned {
    Edit { hook: NodeId },
    Call(PlannedCall),
}

struct PlannedCall {
    /// Bytes given for a token.
    given: u64,
    /// Hooks that are edited.
    edited: Vec<HookId>,
    /// What is wanted, with its bytes for a token.
    want: Vec<(NodeId, u64)>,
    products: Vec<Scaled>,
}

/// A product for any number of tokens.
struct Scaled {
    /// Rows for one token, and for each further one.
    rows: (u64, u64),
    inner: u64,
    columns: u64,
}

impl Scaled {
    fn of(&self, tokens: u64) -> Product {
        Product { rows: self.rows.0 + self.rows.1 * tokens.saturating_sub(1), inner: self.inner, columns: self.columns }
    }
}

pub(super) struct Stages<'a> {
    program: &'a Verified,
    takes: Takes<'a>,
    target: &'a Target,
    forms: HashMap<Form, Rc<[Planned]>>,
    /// By model, the bytes of each node for a token.
    sizes: BTreeMap<Name, Vec<u64>>,
    /// Pairs of queries and keys, by what they depend on.
    pairs: HashMap<(bool, Option<usize>, Range<usize>, usize), u64>,
}

impl<'a> Stages<'a> {
    pub(super) fn new(program: &'a Verified, schedule: &'a Schedule, target: &'a Target) -> Stages<'a> {
        let sizes = program.models().iter().map(|(name, spec)| (name.clone(), bytes_of_a_token(spec))).collect();
        let (forms, pairs) = Default::default();
        Stages { program, takes: Takes { program, schedule }, target, forms, sizes, pairs }
    }

    /// The work of a stage; products are added to `products`.
    pub(super) fn work(&mut self, step: &StageStep, products: &mut BTreeMap<Product, u64>) -> (Work, Ran) {
        let spec = &self.program.models()[&step.model];
        match &spec.stages()[step.stage].kind {
            StageKind::Positionwise => self.positionwise(spec, step, products),
            StageKind::Attention(attention) => self.attention(spec, step, attention),
        }
    }

    fn positionwise(&mut self, spec: &ModelSpec, step: &StageStep, products: &mut BTreeMap<Product, u64>) -> (Work, Ran) {
        let lanes = &self.takes.schedule.lanes;
        let all: u64 = step.lanes.iter().zip(&step.positions).map(|(lane, at)| tokens(lanes[lane.index()].batch, at)).sum();
        let edits = self.edits(spec, step);
        let planned = self.planned(spec, step);
        let sizes = &self.sizes[&step.model];
        let mut work = Work::default();
        let mut ran = Ran::default();
        for planned in planned.iter() {
            let call = match planned {
                Planned::Edit { hook } => {
                    ran.made.push((*hook, sizes[hook.index()], vec![all]));
                    continue;
                }
                Planned::Call(call) => call,
            };
            if all == 0 {
                continue;
            }
            let edited: u64 = call.edited.iter().map(|hook| edits.get(hook).copied().unwrap_or(0)).sum();
            let wanted: u64 = call.want.iter().map(|(_, bytes)| bytes).sum();
            let chunks = calls::chunks(all as usize, self.target.chunk);
            let count = chunks.len() as u64;
            // At most two sizes of chunks: all as long as the shortest, some one token longer.
            let (short, longer) = (all / count, all % count);
            for (size, times) in [(short, count - longer), (short + 1, longer)].into_iter().filter(|(_, times)| *times > 0) {
                let rows = size * calls::copies(size as usize, self.target.min_rows) as u64;
                work.calls += times;
                work.bytes_in += times * rows * (call.given + edited);
                work.bytes_out += times * rows * wanted;
                for product in call.products.iter().map(|product| product.of(rows)) {
                    work.matrix_flops += times * product.flops();
                    *products.entry(product).or_default() += times;
                }
                if size != rows {
                    ran.beside += rows * (call.given + edited);
                }
            }
            let pieces: Vec<u64> = calls::chunks(all as usize, self.target.chunk).map(|chunk| chunk.len() as u64).collect();
            ran.made.extend(call.want.iter().map(|(node, bytes)| (*node, *bytes, pieces.clone())));
        }
        if planned.iter().any(|planned| matches!(planned, Planned::Call(_))) && work.calls > 0 {
            work.stages = step.lanes.len() as u64;
            work.tokens = all;
        }
        ran.beside += edits.values().map(|bytes| bytes * all).sum::<u64>();
        (work, ran)
    }

    /// The bytes of what edits hooks of a step, for a token.
    fn edits(&self, spec: &ModelSpec, step: &StageStep) -> BTreeMap<HookId, u64> {
        // What is edited is f32.
        let count = |hook: HookId| self.sizes[&step.model][spec.hook_info(hook).node.index()] / DType::F32.size() as u64;
        let mut parts: BTreeMap<HookId, [bool; 3]> = BTreeMap::new();
        let mut bytes: BTreeMap<HookId, u64> = BTreeMap::new();
        for lane in &step.lanes {
            let info = &self.takes.schedule.lanes[lane.index()];
            for write in info.writes.iter().filter(|_| info.stage == step.stage) {
                match &write.edit {
                    // What one of the lanes has, all get.
                    Some(Edit::Affine(edit)) => {
                        let of = parts.entry(write.hook).or_default();
                        let own = [edit.scales, edit.adds, edit.replaces];
                        of.iter_mut().zip(own).for_each(|(all, own)| *all |= own);
                    }
                    // All of them have the same.
                    Some(Edit::Chain(chain)) => {
                        let given = chain.form.given.iter().map(|dtype| count(write.hook) * dtype.size() as u64);
                        bytes.insert(write.hook, given.sum());
                    }
                    None => {}
                }
            }
        }
        let of_parts = |(hook, [scales, adds, replaces]): (HookId, [bool; 3])| {
            let (numbers, masks) = (u64::from(scales) + u64::from(adds) + u64::from(replaces), u64::from(replaces));
            (hook, count(hook) * (numbers * DType::F32.size() as u64 + masks * DType::Bool.size() as u64))
        };
        bytes.extend(parts.into_iter().map(of_parts));
        bytes
    }

    /// What the engine does for a step. All lanes set the same hooks in the stage.
    fn planned(&mut self, spec: &ModelSpec, step: &StageStep) -> Rc<[Planned]> {
        let first = step.lanes.first().map(|lane| &self.takes.schedule.lanes[lane.index()]);
        let writes = first.filter(|lane| lane.stage == step.stage).map_or(&[][..], |lane| &lane.writes);
        let set: Vec<(HookId, bool)> = writes.iter().map(|write| (write.hook, write.edit.is_some())).collect();
        let mut wanted = takes::wanted(spec, step);
        wanted.sort();
        wanted.dedup();
        let form = (step.model.clone(), step.stage, step.inputs.clone(), set, wanted);
        if let Some(known) = self.forms.get(&form) {
            return known.clone();
        }
        let (_, _, inputs, set, wanted) = &form;
        let positions = spec.graph().nodes().take_while(|(_, node)| matches!(node.op, Op::Input { .. }));
        let positions = positions.filter(|(_, node)| matches!(&node.op, Op::Input { name, .. } if &**name == "positions"));
        let of = |edited: bool| set.iter().filter(move |(_, of)| *of == edited).map(|(hook, _)| spec.hook_info(*hook).node);
        let known: BTreeSet<NodeId> = inputs.iter().copied().chain(positions.map(|(id, _)| id)).chain(of(false)).collect();
        // Where one value is needed in two forms, the run fails.
        let moves = calls::moves(spec, known, of(true).collect(), wanted).unwrap_or_default();
        let sizes = &self.sizes[&step.model];
        let planned = moves.into_iter().map(|step| match step {
            Move::Edit { hook, .. } => Planned::Edit { hook },
            Move::Call(call) => Planned::Call(PlannedCall {
                given: call.given.keys().map(|source| sizes[source.index()]).sum(),
                edited: call.edited.values().filter_map(|hook| spec.hook_at(*hook)).collect(),
                want: call.want.iter().map(|node| (*node, sizes[node.index()])).collect(),
                products: products(spec, &call, self.target.prunes),
            }),
        });
        let planned: Rc<[Planned]> = planned.collect();
        self.forms.insert(form, planned.clone());
        planned
    }

    fn attention(&mut self, spec: &ModelSpec, step: &StageStep, hooks: &Attention) -> (Work, Ran) {
        let takes = self.takes;
        let wanted = |hook: HookId| is_wanted(spec, step, hook);
        let set = |hook: HookId| step.lanes.first().is_some_and(|lane| takes.written(*lane, step.stage, hook).is_some());
        let z = wanted(hooks.z) && !set(hooks.z);
        let pattern = (z || wanted(hooks.pattern)) && !set(hooks.pattern);
        let scores = (pattern || wanted(hooks.scores)) && !set(hooks.scores);
        let asked = [hooks.q, hooks.k, hooks.v, hooks.scores, hooks.pattern, hooks.z];
        let computes = asked.into_iter().any(|hook| wanted(hook) && !set(hook));
        let shape = &hooks.shape;
        let (mut all, mut pairs, mut beside) = (0, 0, 0);
        for (&lane, positions) in step.lanes.iter().zip(&step.positions) {
            let info = &takes.schedule.lanes[lane.index()];
            all += tokens(info.batch, positions);
            let past = takes.past_length(lane);
            let keys = past + takes.key_positions(spec, lane, positions).len();
            let places = past + positions.start..past + positions.end;
            pairs += info.batch as u64 * self.pairs(shape.causal, shape.window, &places, keys);
            let shown = step.captures.iter().filter(|capture| capture.lane == lane && spec.is_square(capture.hook)).count() as u64;
            let square = (info.batch * shape.heads * info.length * (past + info.length) * size_of::<f32>()) as u64;
            beside += if set(hooks.scores) || set(hooks.pattern) { square } else { shown * square };
        }
        let products = u64::from(scores) + u64::from(z);
        let attention_flops = pairs * (shape.heads * shape.head_size) as u64 * 2 * products;
        let work = Work { stages: if computes { step.lanes.len() as u64 } else { 0 }, attention_flops, ..Work::default() };
        let sizes = &self.sizes[&step.model];
        let size = |hook: HookId| sizes[spec.hook_info(hook).node.index()];
        let [q, k, v] = takes::looks(hooks, &wanted, &set);
        let keys = if k || v { takes.keys(spec, step) } else { takes::Keys::default() };
        let looked: u64 = keys.parts.iter().map(|(lane, at)| tokens(takes.schedule.lanes[lane.index()].batch, at)).sum();
        let mut ran = Ran { made: vec![], beside };
        // Rotary turns a copy; what comes of several lanes is put together.
        let several = keys.parts.len() > 1;
        let turned = shape.rotary.is_some();
        let copied =
            |hook: HookId, copied: bool, tokens: u64| (spec.hook_info(hook).node, if copied { size(hook) } else { 0 }, vec![tokens]);
        ran.made.push(copied(hooks.q, q && turned, all));
        ran.made.push(copied(hooks.k, k && (turned || several), looked));
        ran.made.push(copied(hooks.v, v && several, looked));
        ran.made.push(copied(hooks.z, z, all));
        (work, ran)
    }

    /// How many of the keys 0..`keys` queries at some positions see, in all.
    fn pairs(&mut self, causal: bool, window: Option<usize>, positions: &Range<usize>, keys: usize) -> u64 {
        let sees = |position: usize| {
            let end = if causal { (position + 1).min(keys) } else { keys };
            let start = window.map_or(0, |window| (position + 1).saturating_sub(window));
            end.saturating_sub(start) as u64
        };
        *self.pairs.entry((causal, window, positions.clone(), keys)).or_insert_with(|| positions.clone().map(sees).sum())
    }
}

/// The matrix products of a call.
fn products(spec: &ModelSpec, call: &EngineCall, prunes: bool) -> Vec<Scaled> {
    let computed = calls::computed(spec, call);
    let mut nodes: Vec<NodeId> = computed.iter().copied().collect();
    if !prunes {
        let stages: BTreeSet<usize> = computed.iter().map(|node| spec.stage_of(*node)).collect();
        nodes = stages.into_iter().flat_map(|stage| spec.stages()[stage].nodes.clone()).map(NodeId::new).collect();
    }
    nodes.into_iter().filter_map(|node| product(spec, node)).collect()
}

/// The product that a node is, if it is one.
fn product(spec: &ModelSpec, node: NodeId) -> Option<Scaled> {
    let Op::Matmul {} = spec.graph().node(node).op else { return None };
    let operands = &spec.graph().node(node).operands;
    let size = |ty: &Type, tokens: i64| {
        let ty = ty.as_tensor()?.substitute(&|symbol| match symbol {
            "B" => Some(Dim::known(1)),
            "T" => Some(Dim::known(tokens)),
            _ => None,
        });
        Some((known(&elements(&ty.shape)), ty))
    };
    let (_, left) = size(spec.node_type(operands[0]), 1)?;
    let (_, right) = size(spec.node_type(operands[1]), 1)?;
    let inner = left.shape.last().map_or(1, known);
    let columns = if right.rank() > 1 { right.shape.last().map_or(1, known) } else { 1 };
    let rows = |tokens: i64| Some(size(spec.node_type(node), tokens)?.0 / columns.max(1));
    let first = rows(1)?;
    Some(Scaled { rows: (first, rows(2)?.saturating_sub(first)), inner, columns })
}
