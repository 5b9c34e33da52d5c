//! Position-wise stages on an engine: what is wanted from what is there, in as few calls as possible.

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{Duration, Instant},
};

use irc_ir::{diagnostic::Diagnostic, graph::NodeId, model::ModelSpec, tensor::Tensor, types::DType};
use irc_passes::calls::{self, EngineCall, Move};

use crate::{Call, Caps, Crossed, LoadedModel, cancel::Cancel, edit::Edit, failed};

/// A value [N, …] for the tokens of a flat batch, in the pieces in which it was computed: putting large ones together would copy
/// them, and mostly parts are wanted that lie in one.
pub(crate) struct Flat(Vec<Tensor>);

impl Flat {
    pub(crate) fn whole(tensor: Tensor) -> Flat {
        Flat(vec![tensor])
    }

    /// Some of its tokens; shares the elements where one piece has them all.
    pub(crate) fn part(&self, tokens: Range<usize>) -> Tensor {
        let mut parts = vec![];
        let mut start = 0;
        for piece in &self.0 {
            let end = start + piece.shape()[0];
            let (from, to) = (tokens.start.max(start), tokens.end.min(end));
            if from < to {
                parts.push(piece.part(from - start..to - start));
            }
            start = end;
        }
        match parts.len() {
            0 => self.0[0].part(0..0),
            1 => parts.remove(0),
            _ => Tensor::joined(&parts),
        }
    }

    fn joined(&self) -> Tensor {
        Tensor::joined(&self.0)
    }
}

/// Values of a model for a flat batch of tokens, each [N, …].
pub(crate) struct FlatBatch<'a> {
    pub(crate) spec: &'a ModelSpec,
    pub(crate) model: &'a dyn LoadedModel,
    pub(crate) caps: &'a Caps,
    pub(crate) cancel: &'a Cancel,
    /// The number of tokens.
    pub(crate) tokens: usize,
    /// What is known: inputs of the stage, and hooks that were set.
    pub(crate) known: BTreeMap<NodeId, Flat>,
    /// Hooks that have what becomes of the value that they are on.
    pub(crate) edits: BTreeMap<NodeId, Edit>,
    pub(crate) crossed: Crossed,
    pub(crate) time: Duration,
}

impl FlatBatch<'_> {
    /// The value of a node, if it is known: its own, or through hooks that nobody set that of what they are on.
    pub(crate) fn get(&self, node: NodeId) -> Option<&Flat> {
        let is_known = |node| self.known.contains_key(&node);
        self.known.get(&calls::nearest(self.spec, is_known, |node| self.edits.contains_key(&node), node)?)
    }

    /// Makes the wanted nodes known.
    pub(crate) fn compute(&mut self, want: &[NodeId]) -> Result<(), Diagnostic> {
        let (known, edits) = (self.known.keys().copied().collect(), self.edits.keys().copied().collect());
        let two_forms = |node| failed(format!("node {node:?} needs one value in two forms"));
        for step in calls::moves(self.spec, known, edits, want).map_err(two_forms)? {
            match step {
                Move::Edit { hook, of } => {
                    let edit = self.edits.remove(&hook).ok_or_else(|| failed("a hook is edited once"))?;
                    self.known.insert(hook, Flat::whole(edit.apply(&self.known[&of].joined())?));
                }
                Move::Call(call) if self.tokens == 0 => {
                    // An applied module may be given nothing.
                    for node in call.want {
                        let (dtype, sizes) = self.sizes(node, 0)?;
                        let none = Tensor::from_le_bytes(dtype, sizes, &[]).ok_or_else(|| failed("nothing has no bytes"))?;
                        self.known.insert(node, Flat::whole(none));
                    }
                }
                Move::Call(call) => self.call(&call)?,
            }
        }
        Ok(())
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
    fn call(&mut self, call: &EngineCall) -> Result<(), Diagnostic> {
        let start = Instant::now();
        let edits: Vec<(NodeId, &Edit)> = call.edited.iter().map(|(source, hook)| (*source, &self.edits[hook])).collect();
        let sources: Vec<NodeId> = call.want.iter().map(|target| self.spec.source(*target)).collect();
        let chunks = calls::chunks(self.tokens, self.caps.chunk);
        let whole = chunks.len() == 1;
        let mut pieces: Vec<Vec<Tensor>> = vec![Vec::with_capacity(chunks.len()); call.want.len()];
        for chunk in chunks {
            self.cancel.check()?;
            let copies = calls::copies(chunk.len(), self.caps.min_rows);
            let padded = |part: Tensor| if copies > 1 { Tensor::joined(&vec![part; copies]) } else { part };
            let rows = |tensor: &Tensor| padded(if whole { tensor.clone() } else { tensor.part(chunk.clone()) });
            let given = call.given.iter().map(|(source, known)| (*source, padded(self.known[known].part(chunk.clone()))));
            let parts: Vec<(NodeId, Tensor)> = given.collect();
            let edits = edits.iter().map(|(node, edit)| Ok((*node, edit.map(|tensor| Ok(rows(tensor)))?)));
            let edits = edits.collect::<Result<Vec<(NodeId, Edit)>, Diagnostic>>()?;
            let given: Vec<(NodeId, &Tensor)> = parts.iter().map(|(node, tensor)| (*node, tensor)).collect();
            let edits: Vec<(NodeId, &Edit)> = edits.iter().map(|(node, edit)| (*node, edit)).collect();
            let call = Call { given: &given, edits: &edits, want: &sources, cancel: self.cancel };
            let outputs = self.model.run(&call)?;
            self.check(&sources, &outputs, parts.first().map_or(chunk.len(), |(_, part)| part.shape()[0]))?;
            self.crossed.calls += 1;
            self.crossed.bytes_in += call.bytes();
            self.crossed.bytes_out += outputs.iter().map(Tensor::bytes).sum::<usize>() as u64;
            for (all, output) in pieces.iter_mut().zip(outputs) {
                all.push(if copies > 1 { output.part(0..chunk.len()) } else { output });
            }
        }
        for (target, pieces) in call.want.iter().zip(pieces) {
            self.known.insert(*target, Flat(pieces));
        }
        self.time += start.elapsed();
        Ok(())
    }
}
