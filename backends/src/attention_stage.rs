//! Attention stages: our attention for all rows at once, and the hooks inside it.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use irc_ir::{
    diagnostic::Diagnostic,
    model::{self, HookId, RotaryShape},
    tensor::Tensor,
};
use irc_passes::takes::looks;

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

/// A lane in the flat batch: of `batch` sequences the tokens at `positions`, from `start` on, sequence by sequence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) batch: usize,
    pub(crate) positions: Range<usize>,
    /// All positions of a sequence.
    pub(crate) length: usize,
    /// The positions before position 0: those of forwards that it goes on from.
    pub(crate) past: usize,
    /// Of an attention stage, where the keys are: parts of [`Request::keys`] and positions in them, from the first on.
    pub(crate) keys: Vec<(usize, Range<usize>)>,
}

impl Span {
    /// The number of its tokens.
    pub(crate) fn count(&self) -> usize {
        self.batch * self.positions.len()
    }

    pub(crate) fn tokens(&self) -> Range<usize> {
        self.start..self.start + self.count()
    }

    /// The sequences, with keys at these tokens of the flat keys.
    fn rows<'a>(&'a self, parts: &'a [KeyRange]) -> impl Iterator<Item = Row> + 'a {
        (0..self.batch).map(move |at| {
            let start = self.start + at * self.positions.len();
            let keys = self.keys.iter().map(|(part, positions)| parts[*part].tokens(at, positions)).collect();
            Row { queries: start..start + self.positions.len(), first_position: self.past + self.positions.start, keys }
        })
    }
}

/// Where the keys and values of some positions of a lane are in the flat keys and values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeyRange {
    pub(crate) start: usize,
    pub(crate) batch: usize,
    pub(crate) positions: Range<usize>,
    /// The positions before position 0.
    pub(crate) past: usize,
}

impl KeyRange {
    pub(crate) fn count(&self) -> usize {
        self.batch * self.positions.len()
    }

    /// The tokens of some positions of a sequence.
    fn tokens(&self, sequence: usize, positions: &Range<usize>) -> Range<usize> {
        let start = self.start + sequence * self.positions.len() + positions.start - self.positions.start;
        start..start + positions.len()
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
    /// Where keys and values of each part are: in flat tensors, then in the pages of pasts.
    pub(crate) keys: &'a [KeyRange],
    /// Keys and values of pasts, finished, which come after those of all parts that are given below.
    pub(crate) pasts: [Vec<&'a [f32]>; 2],
    /// q before rotary, flat.
    pub(crate) queries: Option<&'a Tensor>,
    /// k and v before rotary, one tensor a part, with whether that is the value at the hook already.
    pub(crate) keys_and_values: [Option<Vec<(Tensor, bool)>>; 2],
    /// Hooks that were set, for all lanes; not k and v.
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

    /// Computes the wanted hooks: q and z for the tokens of the lanes, k and v for those of the keys. Reading scores or pattern
    /// of a lane changes no bit of its z, nor does anything in another lane.
    pub(crate) fn run(&self, request: &Request<'_>) -> Result<BTreeMap<HookId, HookTensor>, Diagnostic> {
        let hooks = &self.shape;
        let kernel = self.kernel.clone().with_cancel(request.cancel);
        let given = |hook: HookId| request.written.get(&hook);
        let asked = |hook: HookId| request.wanted.contains_key(&hook);
        let wants = |hook: HookId| asked(hook) && given(hook).is_none();
        let lanes_of = |hook: HookId, lane: usize| request.wanted.get(&hook).is_some_and(|lanes| lanes[lane]);
        let mut values = request.written.clone();

        let z = wants(hooks.z);
        let pattern = z && given(hooks.pattern).is_none() || wants(hooks.pattern);
        let scores = pattern && given(hooks.scores).is_none() || wants(hooks.scores);
        let [q, k, v] = looks(hooks, &asked, &|hook| given(hook).is_some());
        let q = q.then(|| self.queries(request)).transpose()?;
        let k = k.then(|| self.keys(request)).transpose()?;
        let v = v.then(|| self.values(request)).transpose()?;

        let tokens: usize = request.lanes.iter().map(Span::count).sum();
        let heads = self.kernel.heads;
        let mut mixed = vec![0.0; if z { tokens * heads.heads * heads.head_dim } else { 0 }];
        let by_parts = [hooks.scores, hooks.pattern].iter().any(|hook| given(*hook).is_some());
        let all_keys = buffers(&k, &request.pasts[0])?;
        let all_values = buffers(&v, &request.pasts[1])?;
        let mut all_scores = vec![];
        let mut all_patterns = vec![];
        let mut whole_rows = vec![];
        for (at, lane) in request.lanes.iter().enumerate() {
            let shown = lanes_of(hooks.scores, at) || lanes_of(hooks.pattern, at);
            if !by_parts && !shown {
                whole_rows.extend(lane.rows(request.keys));
                all_scores.push(empty());
                all_patterns.push(empty());
                continue;
            }
            if lane.positions != (0..lane.length) {
                return Err(failed("scores and pattern are of whole sequences"));
            }
            let square = [lane.batch, heads.heads, lane.length, lane.past + lane.length];
            let each = square[1..].iter().product::<usize>();
            let mut scored = match given(hooks.scores) {
                Some(written) => lane_values(written, at)?.to_vec(),
                None => {
                    let mut out = vec![0.0; lane.batch * each];
                    if scores {
                        for (row, out) in lane.rows(request.keys).zip(out.chunks_exact_mut(each.max(1))) {
                            kernel.scores(floats(&q)?, &all_keys, &row, out).map_err(failed)?;
                        }
                    }
                    out
                }
            };
            all_scores.push(if lanes_of(hooks.scores, at) { Tensor::new(square, scored.clone()) } else { empty() });
            match given(hooks.pattern) {
                Some(written) => scored = lane_values(written, at)?.to_vec(),
                None if pattern => {
                    for (row, out) in lane.rows(request.keys).zip(scored.chunks_exact_mut(each.max(1))) {
                        kernel.pattern(&row, out).map_err(failed)?;
                    }
                }
                None => {}
            }
            if z {
                for (row, pattern) in lane.rows(request.keys).zip(scored.chunks_exact(each.max(1))) {
                    kernel.mix(pattern, &all_values, &row, &mut mixed).map_err(failed)?;
                }
            }
            all_patterns.push(if lanes_of(hooks.pattern, at) { Tensor::new(square, scored) } else { empty() });
        }
        if z && !whole_rows.is_empty() {
            kernel.attend(floats(&q)?, &all_keys, &all_values, &whole_rows, &mut mixed).map_err(failed)?;
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

    /// Queries after rotary, [N, heads, size].
    fn queries(&self, request: &Request<'_>) -> Result<Tensor, Diagnostic> {
        if let Some(HookTensor::Flat(written)) = request.written.get(&self.shape.q) {
            return Ok(written.clone());
        }
        let input = request.queries.ok_or_else(lacks_an_input)?;
        let spans = request.lanes.iter().map(|lane| (lane.batch, after(lane.past, &lane.positions)));
        self.turned(input.clone(), self.kernel.heads.heads, spans)
    }

    /// Keys after rotary, [M, kv_heads, size].
    fn keys(&self, request: &Request<'_>) -> Result<Tensor, Diagnostic> {
        let parts = request.keys_and_values[0].as_ref().ok_or_else(lacks_an_input)?;
        let (heads, size) = (self.kernel.heads.kv_heads, self.kernel.heads.head_dim);
        let span = |part: &KeyRange| (part.batch, after(part.past, &part.positions));
        if parts.iter().all(|(_, finished)| !finished) {
            let all: Vec<Tensor> = parts.iter().map(|(tensor, _)| tensor.clone()).collect();
            return self.turned(joined(&all, heads * size), heads, request.keys[..all.len()].iter().map(span));
        }
        let turned = parts.iter().zip(request.keys).map(|((tensor, finished), part)| match finished {
            true => Ok(tensor.reshaped([part.count(), heads, size])),
            false => self.turned(tensor.clone(), heads, [span(part)].into_iter()),
        });
        Ok(Tensor::joined(&turned.collect::<Result<Vec<_>, _>>()?))
    }

    /// Keys of some positions [tokens, …] of `batch` sequences as later queries look at them, [tokens, kv_heads, size].
    pub(crate) fn finished_keys(&self, keys: Tensor, batch: usize, positions: Range<usize>) -> Result<Tensor, Diagnostic> {
        self.turned(keys, self.kernel.heads.kv_heads, [(batch, positions)].into_iter())
    }

    /// Floats of a key or value of a token, all heads together.
    pub(crate) fn width(&self) -> usize {
        self.kernel.heads.kv_heads * self.kernel.heads.head_dim
    }

    /// Values, [M, kv_heads, size].
    fn values(&self, request: &Request<'_>) -> Result<Tensor, Diagnostic> {
        let parts = request.keys_and_values[1].as_ref().ok_or_else(lacks_an_input)?;
        let (heads, size) = (self.kernel.heads.kv_heads, self.kernel.heads.head_dim);
        let parts = parts.iter().zip(request.keys).map(|((tensor, _), part)| tensor.reshaped([part.count(), heads, size]));
        let parts: Vec<Tensor> = parts.collect();
        Ok(if parts.is_empty() { Tensor::new([0, heads, size], Vec::<f32>::new()) } else { Tensor::joined(&parts) })
    }

    /// Tokens as [tokens, heads, size], turned by their positions where the model does that.
    fn turned(&self, tensor: Tensor, heads: usize, spans: impl Iterator<Item = (usize, Range<usize>)>) -> Result<Tensor, Diagnostic> {
        let (count, size) = (tensor.shape()[0], self.kernel.heads.head_dim);
        let Some(rotary) = &self.rotary else { return Ok(tensor.reshaped([count, heads, size])) };
        let mut turned = tensor.into_values::<f32>().ok_or_else(|| failed("attention takes f32"))?;
        let mut places = vec![];
        for (batch, positions) in spans {
            (0..batch).for_each(|_| places.extend(positions.clone().map(|position| position as u32)));
        }
        rotary.rotate(&mut turned, heads, size, &places).map_err(failed)?;
        Ok(Tensor::new([count, heads, size], turned))
    }
}

/// Positions after those of a past.
fn after(past: usize, positions: &Range<usize>) -> Range<usize> {
    past + positions.start..past + positions.end
}

/// Flat tensors [tokens, …] one after the other; of none, nothing with `width` elements a token.
fn joined(parts: &[Tensor], width: usize) -> Tensor {
    if parts.is_empty() { Tensor::new([0, width], Vec::<f32>::new()) } else { Tensor::joined(parts) }
}

fn lacks_an_input() -> Diagnostic {
    failed("attention lacks an input that it needs")
}

/// Own keys or values, then those of pasts.
fn buffers<'a>(own: &'a Option<Tensor>, pasts: &[&'a [f32]]) -> Result<Vec<&'a [f32]>, Diagnostic> {
    let own = own.as_ref().map(|tensor| tensor.values::<f32>().ok_or_else(|| failed("attention takes f32"))).transpose()?;
    Ok([own.unwrap_or_default()].into_iter().chain(pasts.iter().copied()).collect())
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
