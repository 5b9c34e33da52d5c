//! What loops need of the forwards that they carry: found backwards, before anything is scheduled, so that whoever makes a forward
//! knows what to keep of it.
//!
//! It does not depend on sizes, so that it holds for every iteration. Where a forward from outside is written to, everything is
//! kept that stages may take from it.

use std::collections::{BTreeMap, BTreeSet};

use irc_ir::{
    graph::{Body, Graph, NodeId},
    infer::Models,
    model::ModelSpec,
    op::Op,
    plan::Keep,
    types::Type,
    verify::{LoopId, Types},
};

/// What is kept for a graph.
#[derive(Default)]
pub(super) struct Carried {
    /// For each loop, of its operands by their place.
    pub(super) loops: BTreeMap<LoopId, Vec<Keep>>,
    /// What is needed of each forward, by its node, by anything but operations of the graph itself: loops, and who takes results.
    pub(super) kept: BTreeMap<NodeId, Keep>,
}

/// A graph with what is known of it.
#[derive(Clone, Copy)]
struct Scope<'a> {
    graph: &'a Graph,
    types: &'a Types,
    models: &'a Models,
}

/// What is kept of the forwards of a graph, of whose results this much is needed.
pub(super) fn carried(graph: &Graph, types: &Types, models: &Models, results: &[Keep]) -> Carried {
    Scope { graph, types, models }.carried(results)
}

impl<'a> Scope<'a> {
    fn spec(self, forward: NodeId) -> Option<&'a ModelSpec> {
        match &self.types.nodes[forward.index()] {
            Type::Forward(ty) => self.models.get(&ty.model).map(|spec| &**spec),
            _ => None,
        }
    }

    fn carried(self, results: &[Keep]) -> Carried {
        let mut carried = Carried::default();
        for (result, keep) in self.graph.results.iter().zip(results) {
            self.add_kept(&mut carried, *result, keep);
        }
        let loops: Vec<_> = self.graph.loops().collect();
        // Without loops there is nobody else who needs anything; and to find what all forwards need takes long.
        if loops.is_empty() {
            return carried;
        }
        // Loops from the last to the first: what comes out of one may go into a later one.
        loop {
            let before = (carried.loops.clone(), carried.kept.clone());
            let needs = self.needs(&carried);
            for &(at, body, operands) in loops.iter().rev() {
                let keeps = self.of_loop(at, body, operands.len(), &needs);
                for (operand, keep) in operands.iter().zip(&keeps) {
                    self.add_kept(&mut carried, *operand, keep);
                }
                carried.loops.insert(at, keeps);
            }
            if before == (carried.loops.clone(), carried.kept.clone()) {
                return carried;
            }
        }
    }

    fn add_kept(self, carried: &mut Carried, forward: NodeId, keep: &Keep) {
        if self.spec(forward).is_some() {
            add(carried.kept.entry(forward).or_default(), keep);
        }
    }

    /// What is needed of each forward, as if it came from outside.
    fn needs(self, carried: &Carried) -> Vec<Keep> {
        let mut needs = vec![Keep::default(); self.graph.len()];
        carried.kept.iter().for_each(|(forward, keep)| add(&mut needs[forward.index()], keep));
        for (id, node) in self.graph.nodes().rev() {
            let Some(&of) = node.operands.first() else { continue };
            match &node.op {
                Op::Extend {} => needs[of.index()].extends = true,
                Op::Read { hook } => {
                    let hook = self.spec(of).and_then(|spec| Some(spec.hook_info(spec.find_hook(hook)?).node));
                    needs[of.index()].nodes.extend(hook);
                }
                Op::Write { .. } => {
                    let mut need = std::mem::take(&mut needs[id.index()]);
                    if let Some(spec) = self.spec(of)
                        && need != Keep::default()
                    {
                        need.extends = true;
                        need.nodes.extend(between_stages(spec));
                    }
                    add(&mut needs[of.index()], &need);
                }
                Op::Get { index } => {
                    let whole = self.graph.node(of);
                    if let (Op::Tuple {}, Ok(index)) = (&whole.op, usize::try_from(*index))
                        && let Some(part) = whole.operands.get(index)
                    {
                        let need = needs[id.index()].clone();
                        add(&mut needs[part.index()], &need);
                    }
                }
                _ => {}
            }
        }
        needs
    }

    /// What a loop needs of its operands, where this much is needed of what comes out of it.
    fn of_loop(self, at: LoopId, body: &Body, operands: usize, needs: &[Keep]) -> Vec<Keep> {
        let mut keeps = vec![Keep::default(); operands];
        for (id, node) in self.graph.nodes() {
            if let (Op::Get { index }, Some(&whole)) = (&node.op, node.operands.first())
                && self.is_result(whole, at)
                && let Some(keep) = usize::try_from(*index).ok().and_then(|index| keeps.get_mut(index))
            {
                add(keep, &needs[id.index()]);
            }
        }
        let Some(types) = self.types.bodies.get(&at) else { return keeps };
        let inside = Scope { graph: body.graph(), types, models: self.models };
        let results = body.graph().results.len().min(operands);
        loop {
            let before = keeps.clone();
            let within = inside.needs(&inside.carried(&keeps[..results]));
            for (id, node) in body.graph().nodes() {
                if let Op::Param { index, .. } = node.op
                    && let Some(keep) = usize::try_from(index - 1).ok().and_then(|index| keeps.get_mut(index))
                {
                    add(keep, &within[id.index()]);
                }
            }
            if keeps == before {
                return keeps;
            }
        }
    }

    fn is_result(self, value: NodeId, of: LoopId) -> bool {
        match (&self.graph.node(value).op, of) {
            (Op::EffectResult { entry }, LoopId::Effect(at)) => usize::try_from(*entry) == Ok(at),
            (_, LoopId::Node(id)) => id == value,
            _ => false,
        }
    }
}

fn add(keep: &mut Keep, more: &Keep) {
    keep.extends |= more.extends;
    keep.nodes.extend(&more.nodes);
}

/// The nodes of a model that stages take from each other.
fn between_stages(spec: &ModelSpec) -> BTreeSet<NodeId> {
    spec.stages().iter().flat_map(|stage| stage.outputs.iter().copied()).collect()
}
