//! Keeping what loops need of forwards that were made here.

use std::{collections::HashMap, sync::Arc};

use irc_ir::{
    diagnostic::Diagnostic,
    graph::NodeId,
    model::{ModelSpec, StageKind},
    plan::{Kept, KeyPiece, Lane, LaneId, Past},
    tensor::Tensor,
};

use super::{
    Carried, Execution,
    carried::{KeyCache, Keys},
};
use crate::failed;

impl Execution<'_> {
    /// Keeps what loops need of a forward.
    pub(super) fn keep(&mut self, kept: &Kept) -> Result<(), Diagnostic> {
        let Lane { model, tokens, batch, length, given, .. } = self.schedule.lanes[kept.lane.index()].clone();
        let spec = self.program.models()[&model].clone();
        let past = self.past(kept.lane)?;
        let mut nodes = HashMap::new();
        for &node in &kept.keep.nodes {
            nodes.insert(node, self.kept_value(&spec, kept, node)?);
        }
        let new = if kept.keep.extends { self.new_keys(&spec, kept)? } else { vec![] };
        let own = given.map(|given| self.take_forward(given)).transpose()?;
        let before = self.takes.past(kept.lane).map(|given| self.take_forward(given)).transpose()?;
        let tokens = match (tokens, &own) {
            (Some(tokens), _) => self.take_tensor(tokens)?.reshaped([batch, length]),
            (None, Some(own)) => own.tokens.clone(),
            (None, None) => return Err(failed("a forward has token ids")),
        };
        let mut cache = HashMap::new();
        if kept.keep.extends {
            // In place, if nobody else has them.
            let old = before.or(own).map(|old| Arc::try_unwrap(old).map_or_else(|shared| shared.cache.clone(), |old| old.cache));
            let mut old = old.unwrap_or_default();
            for (stage, own) in new {
                let mut keys = old.remove(&stage).unwrap_or_else(|| KeyCache::new(batch, own.width));
                keys.truncate(own.start);
                for (which, tensors) in own.parts.iter().enumerate() {
                    for tensor in tensors {
                        keys.append(which, tensor.values::<f32>().ok_or_else(|| failed("keys and values are f32"))?);
                    }
                }
                cache.insert(stage, keys);
            }
        }
        self.store_forward(kept.value, Ok(Arc::new(Carried { batch, length, past, tokens, nodes, cache })));
        Ok(())
    }

    fn kept_value(&mut self, spec: &ModelSpec, kept: &Kept, node: NodeId) -> Result<Tensor, Diagnostic> {
        let pieces = self.takes.pieces_of_kept(spec, kept, node);
        match (spec.hook_at(node).is_some_and(|hook| spec.is_square(hook)), pieces.as_slice()) {
            (true, [(lane, _), ..]) => Ok(self.take_lane(*lane, node)?.tensor),
            _ => Ok(Tensor::joined(&self.collected(&pieces, node)?).compacted()),
        }
    }

    /// Keys and values that no forward from outside has yet, by attention stage.
    fn new_keys(&mut self, spec: &ModelSpec, kept: &Kept) -> Result<Vec<(usize, Keys)>, Diagnostic> {
        let lane = &self.schedule.lanes[kept.lane.index()];
        let ready = self.around.ready.get(&lane.model).ok_or_else(|| failed(format!("the model `{}` is not ready", lane.model)))?;
        let mut new = vec![];
        for (at, stage) in spec.stages().iter().enumerate() {
            let (StageKind::Attention(attention), Some(ready)) = (&stage.kind, &ready.attention[at]) else { continue };
            let mut keys = Keys { width: ready.width(), start: 0, parts: Default::default() };
            for piece in self.schedule.key_pieces(kept.lane, at, lane.length) {
                let (maker, positions) = match piece {
                    KeyPiece::Made(maker, positions) => (maker, positions),
                    KeyPiece::Before(given) => {
                        keys.start = self.length(given)?.0;
                        continue;
                    }
                    KeyPiece::Given(given, positions) => {
                        keys.start = self.length(given)?.0 + positions.end;
                        continue;
                    }
                };
                let (key, finished) = self.key_part(spec, at, maker, &positions, attention.inputs[1], attention.k)?;
                let (value, _) = self.key_part(spec, at, maker, &positions, attention.inputs[2], attention.v)?;
                let past = self.past(maker)?;
                let places = past + positions.start..past + positions.end;
                keys.parts[0].push(if finished { key } else { ready.finished_keys(key, lane.batch, places)? });
                keys.parts[1].push(value);
            }
            new.push((at, keys));
        }
        Ok(new)
    }

    /// The number of positions before position 0 of a lane.
    pub(super) fn past(&self, lane: LaneId) -> Result<usize, Diagnostic> {
        let (mut count, mut at) = (0, lane);
        loop {
            match self.schedule.lanes[at.index()].past {
                None => return Ok(count),
                Some(Past::Before(given)) => return Ok(count + self.length(given)?.0),
                Some(Past::Lane(before)) => {
                    count += self.schedule.lanes[before.index()].length;
                    at = before;
                }
            }
        }
    }

    /// How many positions were before those of a forward from outside, and how many it has.
    pub(super) fn length(&self, given: NodeId) -> Result<(usize, usize), Diagnostic> {
        self.lengths.get(&given).copied().ok_or_else(|| failed(format!("the forward {given:?} is not there")))
    }
}
