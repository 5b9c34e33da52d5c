//! Attention stages: our attention for all rows at once, and the hooks inside it.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use irc_ir::{
    diagnostic::Diagnostic,
    model::{self, HookId, RotaryShape},
    tensor::Tensor,
};

use crate::{
    attention::{Attention, Heads, Rotary, Row},
    cancel::Cancel,
    failed,
};

/// An attention stage with what it keeps between runs.
pub(crate) struct AttentionStage {
    shape: model::Attention,
    kernel: Attention,
    rotary: Option<Arc<Rotary>>,
}

/// A lane in the flat batch: `batch` sequences of `length` tokens from `start` on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) batch: usize,
    pub(crate) length: usize,
}

impl Span {
    pub(crate) fn tokens(self) -> Range<usize> {
        self.start..self.start + self.batch * self.length
    }

    fn rows(self) -> impl Iterator<Item = Row> {
        (0..self.batch).map(move |at| {
            let tokens = self.start + at * self.length..self.start + (at + 1) * self.length;
            Row { queries: tokens.clone(), first_position: 0, keys: vec![tokens] }
        })
    }
}

/// Values at the hooks of an attention stage: flat tensors [N, …] for q, k, v and z; for scores and pattern one tensor
/// [batch, heads, length, length] a lane.
#[derive(Clone, Debug)]
pub(crate) enum HookTensor {
    Flat(Tensor),
    PerLane(Vec<Tensor>),
}

/// What a run of the stage is asked for, and what was set.
pub(crate) struct Request<'a> {
    pub(crate) lanes: &'a [Span],
    /// q, k and v before rotary, flat.
    pub(crate) inputs: [Option<&'a Tensor>; 3],
    /// Hooks that were set, for all lanes.
    pub(crate) written: BTreeMap<HookId, HookTensor>,
    /// Hooks that are wanted. For scores and pattern, of some lanes only.
    pub(crate) wanted: BTreeMap<HookId, Vec<bool>>,
    pub(crate) cancel: &'a Cancel,
}

impl AttentionStage {
    /// `rotaries` keeps the tables of angles, which layers share.
    pub(crate) fn new(shape: &model::Attention, rotaries: &mut Vec<(RotaryShape, Arc<Rotary>)>) -> AttentionStage {
        let s = &shape.shape;
        let heads = Heads { heads: s.heads, kv_heads: s.kv_heads, head_dim: s.head_size };
        let kernel = Attention::new(heads, s.scale).with_causal(s.causal).with_window(s.window);
        let rotary = s.rotary.as_ref().map(|wanted| match rotaries.iter().find(|(known, _)| known == wanted) {
            Some((_, shared)) => shared.clone(),
            None => {
                let made = Arc::new(Rotary::new(wanted.inverse_frequencies.to_vec(), wanted.scale));
                rotaries.push((wanted.clone(), made.clone()));
                made
            }
        });
        AttentionStage { shape: shape.clone(), kernel, rotary }
    }

    /// Computes the wanted hooks. Reading scores or pattern of a lane changes no bit of its z, nor does anything in another
    /// lane.
    pub(crate) fn run(&self, request: &Request<'_>) -> Result<BTreeMap<HookId, HookTensor>, Diagnostic> {
        let hooks = &self.shape;
        let kernel = self.kernel.clone().with_cancel(request.cancel);
        let given = |hook: HookId| request.written.get(&hook);
        let wants = |hook: HookId| request.wanted.contains_key(&hook) && given(hook).is_none();
        let lanes_of = |hook: HookId, lane: usize| request.wanted.get(&hook).is_some_and(|lanes| lanes[lane]);
        let mut values = request.written.clone();

        // What needs what, from the end.
        let z = wants(hooks.z);
        let pattern = z && given(hooks.pattern).is_none() || wants(hooks.pattern);
        let scores = pattern && given(hooks.scores).is_none() || wants(hooks.scores);
        let q = (scores || wants(hooks.q)).then(|| self.queries_or_keys(request, hooks.q, 0)).transpose()?;
        let k = (scores || wants(hooks.k)).then(|| self.queries_or_keys(request, hooks.k, 1)).transpose()?;
        let v = (z || wants(hooks.v)).then(|| self.values(request)).transpose()?;

        let tokens: usize = request.lanes.iter().map(|lane| lane.tokens().len()).sum();
        let heads = self.kernel.heads;
        let mut mixed = vec![0.0; if z { tokens * heads.heads * heads.head_dim } else { 0 }];
        let by_parts = [hooks.scores, hooks.pattern].iter().any(|hook| given(*hook).is_some());
        let mut all_scores = vec![];
        let mut all_patterns = vec![];
        let mut whole_rows = vec![];
        for (at, lane) in request.lanes.iter().enumerate() {
            let shown = lanes_of(hooks.scores, at) || lanes_of(hooks.pattern, at);
            if !by_parts && !shown {
                whole_rows.extend(lane.rows());
                all_scores.push(empty());
                all_patterns.push(empty());
                continue;
            }
            let square = [lane.batch, heads.heads, lane.length, lane.length];
            let each = heads.heads * lane.length * lane.length;
            let mut scored = match given(hooks.scores) {
                Some(written) => lane_values(written, at)?.to_vec(),
                None => {
                    let mut out = vec![0.0; lane.batch * each];
                    if scores {
                        for (row, out) in lane.rows().zip(out.chunks_exact_mut(each.max(1))) {
                            kernel.scores(floats(&q)?, floats(&k)?, &row, out).map_err(failed)?;
                        }
                    }
                    out
                }
            };
            all_scores.push(if lanes_of(hooks.scores, at) { Tensor::new(square, scored.clone()) } else { empty() });
            match given(hooks.pattern) {
                Some(written) => scored = lane_values(written, at)?.to_vec(),
                None if pattern => {
                    for (row, out) in lane.rows().zip(scored.chunks_exact_mut(each.max(1))) {
                        kernel.pattern(&row, out).map_err(failed)?;
                    }
                }
                None => {}
            }
            if z {
                for (row, pattern) in lane.rows().zip(scored.chunks_exact(each.max(1))) {
                    kernel.mix(pattern, floats(&v)?, &row, &mut mixed).map_err(failed)?;
                }
            }
            all_patterns.push(if lanes_of(hooks.pattern, at) { Tensor::new(square, scored) } else { empty() });
        }
        if z && !whole_rows.is_empty() {
            kernel.attend(floats(&q)?, floats(&k)?, floats(&v)?, &whole_rows, &mut mixed).map_err(failed)?;
        }

        for (hook, tensor) in [(hooks.q, q), (hooks.k, k), (hooks.v, v)] {
            if let (true, Some(tensor)) = (wants(hook), tensor) {
                values.insert(hook, HookTensor::Flat(tensor));
            }
        }
        for (hook, tensors) in [(hooks.scores, all_scores), (hooks.pattern, all_patterns)] {
            if wants(hook) {
                values.insert(hook, HookTensor::PerLane(tensors));
            }
        }
        if z {
            values.insert(hooks.z, HookTensor::Flat(Tensor::new([tokens, heads.heads, heads.head_dim], mixed)));
        }
        Ok(values)
    }

    /// Queries (0) or keys (1) after rotary, [N, heads, size].
    fn queries_or_keys(&self, request: &Request<'_>, hook: HookId, which: usize) -> Result<Tensor, Diagnostic> {
        if let Some(HookTensor::Flat(written)) = request.written.get(&hook) {
            return Ok(written.clone());
        }
        let heads = if which == 0 { self.kernel.heads.heads } else { self.kernel.heads.kv_heads };
        let size = self.kernel.heads.head_dim;
        let input = input(request, which)?;
        let Some(rotary) = &self.rotary else { return Ok(input.reshaped([input.shape()[0], heads, size])) };
        let mut turned = input.clone().into_values::<f32>().ok_or_else(|| failed("attention takes f32"))?;
        let mut positions = vec![];
        for lane in request.lanes {
            (0..lane.batch).for_each(|_| positions.extend(0..lane.length as u32));
        }
        rotary.rotate(&mut turned, heads, size, &positions).map_err(failed)?;
        Ok(Tensor::new([positions.len(), heads, size], turned))
    }

    /// Values, [N, kv_heads, size].
    fn values(&self, request: &Request<'_>) -> Result<Tensor, Diagnostic> {
        if let Some(HookTensor::Flat(written)) = request.written.get(&self.shape.v) {
            return Ok(written.clone());
        }
        let input = input(request, 2)?;
        Ok(input.reshaped([input.shape()[0], self.kernel.heads.kv_heads, self.kernel.heads.head_dim]))
    }
}

fn input<'a>(request: &Request<'a>, which: usize) -> Result<&'a Tensor, Diagnostic> {
    request.inputs[which].ok_or_else(|| failed("attention lacks an input that it needs"))
}

fn floats(tensor: &Option<Tensor>) -> Result<&[f32], Diagnostic> {
    tensor.as_ref().and_then(|tensor| tensor.values::<f32>()).ok_or_else(|| failed("attention takes f32"))
}

fn lane_values(written: &HookTensor, lane: usize) -> Result<&[f32], Diagnostic> {
    match written {
        HookTensor::PerLane(tensors) => tensors[lane].values::<f32>().ok_or_else(|| failed("attention takes f32")),
        HookTensor::Flat(_) => Err(failed("scores and pattern are set lane by lane")),
    }
}

/// Stands for the scores or pattern of a lane that nobody asked for.
fn empty() -> Tensor {
    Tensor::new([0], Vec::<f32>::new())
}
