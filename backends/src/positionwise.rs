//! Position-wise stages on an engine: what is wanted from what is there, in as few calls as possible.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use irc_ir::{diagnostic::Diagnostic, graph::NodeId, model::ModelSpec, op::Op, tensor::Tensor, types::DType};

use crate::{Call, Caps, LoadedModel, cancel::Cancel, edit::Edit, failed};

/// Values of a model for a flat batch of tokens, each [N, …].
pub(crate) struct FlatBatch<'a> {
    pub(crate) spec: &'a ModelSpec,
    pub(crate) model: &'a dyn LoadedModel,
    pub(crate) caps: &'a Caps,
    pub(crate) cancel: &'a Cancel,
    /// The number of tokens.
    pub(crate) tokens: usize,
    /// What is known: inputs of the stage, and hooks that were set.
    pub(crate) known: BTreeMap<NodeId, Tensor>,
    /// Hooks that have what becomes of the value that they are on.
    pub(crate) edits: BTreeMap<NodeId, Edit>,
    pub(crate) calls: usize,
    pub(crate) time: Duration,
}

/// What has to be given to an engine so that it can compute something.
enum Frontier {
    /// Sources, each with the node whose value it shall have; and sources that are edited, each with the hook that does it.
    Clear { given: BTreeMap<NodeId, NodeId>, edited: BTreeMap<NodeId, NodeId> },
    /// A value is needed both as it was and as it was set.
    Clash(BTreeSet<NodeId>),
}

impl FlatBatch<'_> {
    /// The value of a node, if it is known: its own, or through hooks that nobody set that of what they are on.
    pub(crate) fn get(&self, node: NodeId) -> Option<&Tensor> {
        self.known.get(&self.nearest(node)?)
    }

    fn nearest(&self, mut node: NodeId) -> Option<NodeId> {
        loop {
            if self.known.contains_key(&node) {
                return Some(node);
            }
            match &self.spec.graph().node(node).op {
                Op::Hook { .. } if !self.edits.contains_key(&node) => node = self.spec.graph().node(node).operands[0],
                _ => return None,
            }
        }
    }

    /// What has to be computed for a node: its source, or a hook between them that edits the source's value.
    fn target(&self, mut node: NodeId) -> NodeId {
        let source = self.spec.source(node);
        while node != source && !self.edits.contains_key(&node) {
            node = self.spec.graph().node(node).operands[0];
        }
        node
    }

    /// Makes the wanted nodes known.
    pub(crate) fn compute(&mut self, want: &[NodeId]) -> Result<(), Diagnostic> {
        self.edit_known()?;
        let missing: BTreeSet<NodeId> = want.iter().filter(|node| self.nearest(**node).is_none()).map(|node| self.target(*node)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        if self.tokens == 0 {
            // An applied module may be given nothing.
            for node in missing {
                let (dtype, sizes) = self.sizes(node, 0)?;
                self.known.insert(node, Tensor::from_le_bytes(dtype, sizes, &[]).ok_or_else(|| failed("nothing has no bytes"))?);
            }
            return Ok(());
        }
        match self.frontier(&missing) {
            Frontier::Clear { given, edited } => self.call(&given, &edited, &missing),
            // Some hook was set that shares its source with a value that is needed as well. Operation by operation there
            // is no such clash, since no operation has two operands of one source.
            Frontier::Clash(computed) => computed.into_iter().try_for_each(|node| {
                match self.frontier(&BTreeSet::from([node])) {
                    _ if self.nearest(node).is_some() => {}
                    Frontier::Clear { given, .. } => self.call(&given, &BTreeMap::new(), &BTreeSet::from([node]))?,
                    Frontier::Clash(_) => return Err(failed(format!("node {node:?} needs one value in two forms"))),
                }
                self.edit_known()
            }),
        }
    }

    /// Makes the edits of what is known, on the host.
    fn edit_known(&mut self) -> Result<(), Diagnostic> {
        let hooks: Vec<NodeId> = self.edits.keys().copied().collect();
        for hook in hooks {
            let Some(known) = self.get(self.spec.graph().node(hook).operands[0]) else { continue };
            let value = self.edits[&hook].apply(known)?;
            self.edits.remove(&hook);
            self.known.insert(hook, value);
        }
        Ok(())
    }

    /// Walks back from what is wanted to what is known.
    fn frontier(&self, want: &BTreeSet<NodeId>) -> Frontier {
        let graph = self.spec.graph();
        let mut given: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        // By source, the hook that edits it on the way to its users.
        let mut targets: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        let mut computed: BTreeSet<NodeId> = BTreeSet::new();
        let mut stack: Vec<NodeId> = want.iter().copied().collect();
        let mut clash = false;
        while let Some(node) = stack.pop() {
            if let Some(known) = self.nearest(node) {
                // Under the node's own source: a hook that is a value of its own may get what is known of its operand.
                let other = given.insert(self.spec.source(node), known);
                clash |= other.is_some_and(|other| other != known);
                continue;
            }
            let (source, target) = (self.spec.source(node), self.target(node));
            clash |= *targets.entry(source).or_insert(target) != target;
            if target != source {
                // Two edits of one value are made one after the other.
                clash |= self.edits.contains_key(&self.target(graph.node(target).operands[0]));
            }
            if matches!(graph.node(source).op, Op::Weight { .. } | Op::Const { .. }) || !computed.insert(source) {
                continue;
            }
            stack.extend(graph.node(source).operands.iter().copied());
        }
        clash |= given.keys().any(|source| computed.contains(source));
        let edited = targets.into_iter().filter(|(_, target)| self.edits.contains_key(target)).collect();
        if clash { Frontier::Clash(computed) } else { Frontier::Clear { given, edited } }
    }

    /// Type and sizes of a node's value for some tokens.
    fn sizes(&self, node: NodeId, tokens: usize) -> Result<(DType, Vec<usize>), Diagnostic> {
        let ty = self
            .spec
            .node_type(node)
            .as_tensor()
            .filter(|ty| ty.rank() >= 2)
            .ok_or_else(|| failed(format!("node {node:?} has no tokens")))?;
        Ok((ty.dtype, [tokens].into_iter().chain(ty.shape[2..].iter().filter_map(|dim| dim.as_usize())).collect()))
    }

    /// Engines come from elsewhere, too.
    fn check(&self, want: &[NodeId], outputs: &[Tensor], tokens: usize) -> Result<(), Diagnostic> {
        if want.len() != outputs.len() {
            return Err(failed(format!("the engine gives {} values for {}", outputs.len(), want.len())));
        }
        want.iter().zip(outputs).try_for_each(|(node, output)| {
            let (dtype, sizes) = self.sizes(*node, tokens)?;
            let right = output.dtype() == dtype && output.shape() == sizes;
            if right {
                Ok(())
            } else {
                Err(failed(format!("the engine gives {} for node {node:?}, which is {dtype} {sizes:?}", output.ty())))
            }
        })
    }

    /// One computation on the engine: in chunks that it likes, padded to the rows that it needs.
    fn call(
        &mut self,
        given: &BTreeMap<NodeId, NodeId>,
        edited: &BTreeMap<NodeId, NodeId>,
        want: &BTreeSet<NodeId>,
    ) -> Result<(), Diagnostic> {
        let start = Instant::now();
        let inputs: Vec<(NodeId, Tensor)> = given.iter().map(|(source, known)| (*source, self.known[known].clone())).collect();
        let edits: Vec<(NodeId, &Edit)> = edited.iter().map(|(source, hook)| (*source, &self.edits[hook])).collect();
        let sources: Vec<NodeId> = want.iter().map(|target| self.spec.source(*target)).collect();
        let chunks = self.tokens.div_ceil(self.caps.chunk.max(1)).max(1);
        let mut joined: Vec<Vec<Tensor>> = vec![Vec::with_capacity(chunks); want.len()];
        for chunk in 0..chunks {
            self.cancel.check()?;
            // Of equal size, give or take one: a short last chunk would cost as much as a long one.
            let (from, to) = (self.tokens * chunk / chunks, self.tokens * (chunk + 1) / chunks);
            let padding = self.caps.min_rows.saturating_sub(to - from);
            let rows = |tensor: &Tensor| {
                let part = if chunks == 1 { tensor.clone() } else { tensor.part(from..to) };
                if padding > 0 { Tensor::joined(&vec![part; padding + 1]) } else { part }
            };
            let parts: Vec<(NodeId, Tensor)> = inputs.iter().map(|(node, tensor)| (*node, rows(tensor))).collect();
            let edits = edits.iter().map(|(node, edit)| Ok((*node, edit.map(|tensor| Ok(rows(tensor)))?)));
            let edits = edits.collect::<Result<Vec<(NodeId, Edit)>, Diagnostic>>()?;
            let given: Vec<(NodeId, &Tensor)> = parts.iter().map(|(node, tensor)| (*node, tensor)).collect();
            let edits: Vec<(NodeId, &Edit)> = edits.iter().map(|(node, edit)| (*node, edit)).collect();
            let outputs = self.model.run(&Call { given: &given, edits: &edits, want: &sources, cancel: self.cancel })?;
            self.calls += 1;
            self.check(&sources, &outputs, parts.first().map_or(to - from, |(_, part)| part.shape()[0]))?;
            for (all, output) in joined.iter_mut().zip(outputs) {
                all.push(if padding > 0 { output.part(0..to - from) } else { output });
            }
        }
        for (target, parts) in want.iter().zip(joined) {
            self.known.insert(*target, Tensor::joined(&parts));
        }
        self.time += start.elapsed();
        Ok(())
    }
}
