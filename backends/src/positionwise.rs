//! Position-wise stages on an engine: what is wanted from what is there, in as few calls as possible.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use irc_ir::{diagnostic::Diagnostic, graph::NodeId, model::ModelSpec, op::Op, tensor::Tensor, types::DType};

use crate::{Call, Caps, LoadedModel, cancel::Cancel, failed};

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
    pub(crate) calls: usize,
    pub(crate) time: Duration,
}

/// What has to be given to an engine so that it can compute something.
enum Frontier {
    /// Sources, each with the node whose value it shall have.
    Clear(BTreeMap<NodeId, NodeId>),
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
                Op::Hook { .. } => node = self.spec.graph().node(node).operands[0],
                _ => return None,
            }
        }
    }

    /// Makes the wanted nodes known.
    pub(crate) fn compute(&mut self, want: &[NodeId]) -> Result<(), Diagnostic> {
        let missing: BTreeSet<NodeId> =
            want.iter().filter(|node| self.nearest(**node).is_none()).map(|node| self.spec.source(*node)).collect();
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
            Frontier::Clear(given) => self.call(&given, &missing),
            // Some hook was set that shares its source with a value that is needed as well. Operation by operation there
            // is no such clash, since no operation has two operands of one source.
            Frontier::Clash(computed) => computed.into_iter().try_for_each(|node| match self.frontier(&BTreeSet::from([node])) {
                _ if self.nearest(node).is_some() => Ok(()),
                Frontier::Clear(given) => self.call(&given, &BTreeSet::from([node])),
                Frontier::Clash(_) => Err(failed(format!("node {node:?} needs one value in two forms"))),
            }),
        }
    }

    /// Walks back from the wanted sources to what is known.
    fn frontier(&self, want: &BTreeSet<NodeId>) -> Frontier {
        let graph = self.spec.graph();
        let mut given: BTreeMap<NodeId, NodeId> = BTreeMap::new();
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
            let source = self.spec.source(node);
            if matches!(graph.node(source).op, Op::Weight { .. } | Op::Const { .. }) || !computed.insert(source) {
                continue;
            }
            stack.extend(graph.node(source).operands.iter().copied());
        }
        clash |= given.keys().any(|source| computed.contains(source));
        if clash { Frontier::Clash(computed) } else { Frontier::Clear(given) }
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
    fn call(&mut self, given: &BTreeMap<NodeId, NodeId>, want: &BTreeSet<NodeId>) -> Result<(), Diagnostic> {
        let start = Instant::now();
        let inputs: Vec<(NodeId, Tensor)> = given.iter().map(|(source, known)| (*source, self.known[known].clone())).collect();
        let want: Vec<NodeId> = want.iter().copied().collect();
        let chunks = self.tokens.div_ceil(self.caps.chunk.max(1)).max(1);
        let mut joined: Vec<Vec<Tensor>> = vec![Vec::with_capacity(chunks); want.len()];
        for chunk in 0..chunks {
            self.cancel.check()?;
            // Of equal size, give or take one: a short last chunk would cost as much as a long one.
            let (from, to) = (self.tokens * chunk / chunks, self.tokens * (chunk + 1) / chunks);
            let padding = self.caps.min_rows.saturating_sub(to - from);
            let parts: Vec<(NodeId, Tensor)> = inputs
                .iter()
                .map(|(node, tensor)| {
                    let part = if chunks == 1 { tensor.clone() } else { tensor.part(from..to) };
                    (*node, if padding > 0 { Tensor::joined(&vec![part; padding + 1]) } else { part })
                })
                .collect();
            let refs: Vec<(NodeId, &Tensor)> = parts.iter().map(|(node, tensor)| (*node, tensor)).collect();
            let outputs = self.model.run(&Call { given: &refs, want: &want, cancel: self.cancel })?;
            self.calls += 1;
            self.check(&want, &outputs, parts.first().map_or(to - from, |(_, part)| part.shape()[0]))?;
            for (all, output) in joined.iter_mut().zip(outputs) {
                all.push(if padding > 0 { output.part(0..to - from) } else { output });
            }
        }
        for (node, parts) in want.into_iter().zip(joined) {
            self.known.insert(node, Tensor::joined(&parts));
        }
        self.time += start.elapsed();
        Ok(())
    }
}
