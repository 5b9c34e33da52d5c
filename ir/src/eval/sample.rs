//! Drawing an index by logits: the filters of Hugging Face's logits processors, in their order, and one draw.
//!
//! Of each row of V logits, along the last dimension:
//! 1. Scores are the logits divided by the temperature, in f32 (in f64 for logits of f64).
//! 2. `top_k`: scores below the k-th largest one are left out. Scores equal to it stay, so that more than k may.
//! 3. What is left has weights e^(score - largest score), in f64 by the crate `libm`, and probabilities in proportion to them.
//! 4. `top_p`: in the order of scores, the largest first and the lower index first among equals, those stay before which the
//!    probabilities sum up to less than p; the first one always does.
//! 5. `min_p`: those stay whose weight is at least `min_p`, which is that of the largest score; the largest always does.
//! 6. With u in [0, 1) the result is the lowest index at which the sum of the weights that stay, added in the order of indices
//!    in f64, is more than u times the sum of all of them.
//!
//! u is made of the upper 53 bits of the first double word of a block of the generator of random tensors ([`super::random`]):
//! the key is the seed, the counter is the number of the row and the stream. So a draw is a function of the row's logits, its
//! number, seed and stream, and of nothing else.
//!
//! A row whose largest logit is not finite gives what `argmax` gives: the first NaN, or else the first of the largest.

use std::cmp::Ordering;

use super::{
    EvalError,
    number::{Number, Wide, convert, wide},
    random::Source,
};
use crate::tensor::Tensor;

/// What is left out before the draw; see the module.
#[derive(Clone, Copy)]
pub(super) struct Filters {
    pub(super) temperature: f64,
    pub(super) top_k: Option<i64>,
    pub(super) top_p: f64,
    pub(super) min_p: f64,
}

/// An index for each row.
pub(super) fn sample(logits: &Tensor, source: &Source, filters: Filters) -> Result<Tensor, EvalError> {
    fn rows<T: Number>(logits: &Tensor, size: usize, score: impl Fn(T) -> f64, source: &Source, filters: Filters) -> Vec<i64> {
        let values = convert::<T>(logits);
        let draw = |(row, logits): (usize, &[T])| {
            let scores: Vec<f64> = logits.iter().map(|logit| score(*logit)).collect();
            drawn(&scores, source.fraction(row as u64), filters) as i64
        };
        values.chunks_exact(size).enumerate().map(draw).collect()
    }
    let Some((&size, leading)) = logits.shape().split_last().filter(|(size, _)| **size > 0) else {
        return Err(EvalError::new(format!("of no elements there is none: the shape is {:?}", logits.shape())));
    };
    let temperature = filters.temperature;
    let out = match wide(logits.dtype()) {
        Wide::F64 => rows::<f64>(logits, size, |logit| logit / temperature, source, filters),
        Wide::F32 => rows::<f32>(logits, size, |logit| f64::from(logit / temperature as f32), source, filters),
        Wide::I64 => return Err(EvalError::new("the operand is not of floats")),
    };
    Ok(Tensor::new(leading, out))
}

/// The index that a fraction of 1 leads to.
fn drawn(scores: &[f64], fraction: f64, filters: Filters) -> usize {
    let mut best = 0;
    for (at, score) in scores.iter().enumerate() {
        if *score > scores[best] || score.is_nan() && !scores[best].is_nan() {
            best = at;
        }
    }
    let largest = scores[best];
    if !largest.is_finite() {
        return best;
    }
    let mut kept: Vec<(usize, f64)> = match filters.top_k.and_then(|k| usize::try_from(k).ok()).filter(|k| (1..scores.len()).contains(k)) {
        Some(k) => {
            let mut sorted = scores.to_vec();
            let (_, least, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
            let least = *least;
            scores.iter().copied().enumerate().filter(|(_, score)| *score >= least).collect()
        }
        None => scores.iter().copied().enumerate().collect(),
    };
    kept.iter_mut().for_each(|(_, score)| *score = libm::exp(*score - largest));
    if filters.top_p < 1.0 {
        keep_most_probable(&mut kept, scores, filters.top_p);
    }
    if filters.min_p > 0.0 {
        kept.retain(|(at, weight)| *weight >= filters.min_p || *at == best);
    }
    let sum = |weights: &[(usize, f64)]| weights.iter().fold(0.0, |sum, (_, weight)| sum + weight);
    let aim = fraction * sum(&kept);
    let mut below = 0.0;
    let passes = |(_, weight): &&(usize, f64)| {
        below += weight;
        below > aim
    };
    kept.iter().find(passes).map_or(best, |(at, _)| *at)
}

/// Leaves the largest scores, before which the probabilities sum up to less than `top_p`; in the order of indices.
///
/// Few of many tokens have most of the probability, so only as many are sorted as it takes.
fn keep_most_probable(kept: &mut Vec<(usize, f64)>, scores: &[f64], top_p: f64) {
    let all = kept.iter().fold(0.0, |sum, (_, weight)| sum + weight);
    let order = |a: &(usize, f64), b: &(usize, f64)| -> Ordering { scores[b.0].total_cmp(&scores[a.0]).then(a.0.cmp(&b.0)) };
    let (mut sorted, mut count, mut before) = (0, 0, 0.0);
    while sorted < kept.len() && count == sorted {
        let next = (sorted.max(32) * 4).min(kept.len());
        let rest = &mut kept[sorted..];
        if next - sorted < rest.len() {
            rest.select_nth_unstable_by(next - sorted - 1, order);
        }
        rest[..next - sorted].sort_unstable_by(order);
        sorted = next;
        while count < sorted && (count == 0 || before < top_p * all) {
            before += kept[count].1;
            count += 1;
        }
    }
    kept.truncate(count);
    kept.sort_unstable_by_key(|(at, _)| *at);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Value;

    const NONE: Filters = Filters { temperature: 1.0, top_k: None, top_p: 1.0, min_p: 0.0 };

    /// What can be drawn at all.
    fn possible(logits: &[f64], filters: Filters) -> Vec<usize> {
        let mut found: Vec<usize> = (0..2000).map(|at| drawn(logits, f64::from(at) / 2000.0, filters)).collect();
        found.dedup();
        found
    }

    #[test]
    fn filters_leave_what_they_say() {
        let logits = [0.5, 0.1, 0.2, 0.2].map(f64::ln);
        assert_eq!(possible(&logits, NONE), [0, 1, 2, 3]);
        assert_eq!(possible(&logits, Filters { top_k: Some(2), ..NONE }), [0, 2, 3], "equals of the last stay");
        assert_eq!(possible(&logits, Filters { top_k: Some(9), ..NONE }), [0, 1, 2, 3]);
        assert_eq!(possible(&logits, Filters { top_p: 0.49, ..NONE }), [0]);
        assert_eq!(possible(&logits, Filters { top_p: 0.6, ..NONE }), [0, 2], "the lower index first");
        assert_eq!(possible(&logits, Filters { top_p: 0.0, ..NONE }), [0]);
        assert_eq!(possible(&logits, Filters { min_p: 0.3, ..NONE }), [0, 2, 3]);
        assert_eq!(possible(&logits, Filters { min_p: 1.0, ..NONE }), [0]);
        assert_eq!(possible(&[0.0, f64::NAN, 9.0], NONE), [1]);
        assert_eq!(possible(&[0.0, f64::INFINITY, f64::INFINITY], NONE), [1]);
        assert_eq!(possible(&[f64::NEG_INFINITY; 3], NONE), [0]);
        assert_eq!(possible(&[f64::NEG_INFINITY, -700.0, f64::NEG_INFINITY], NONE), [1]);
    }

    /// Sorting a part at a time gives what sorting all of them gives.
    #[test]
    fn the_most_probable_are_found() {
        let source = Source::new(11, &[]).unwrap();
        let numbers = super::super::random::normal(&source, &[5000], 0.0, 1.0, crate::types::DType::F32).to_f64();
        // Some are equal.
        let logits: Vec<f64> = numbers.iter().map(|x| (x * 64.0).round() / 64.0).collect();
        let weights: Vec<(usize, f64)> = logits.iter().map(|x| x.exp()).enumerate().collect();
        for top_p in [1e-9, 0.01, 0.2, 0.9, 0.999, 1.0 - 1e-9] {
            let mut sorted = weights.clone();
            sorted.sort_by(|a, b| logits[b.0].total_cmp(&logits[a.0]).then(a.0.cmp(&b.0)));
            let all: f64 = weights.iter().map(|(_, weight)| weight).sum();
            let mut before = 0.0;
            let mut expected: Vec<usize> = vec![];
            for (at, weight) in sorted {
                if before >= top_p * all && !expected.is_empty() {
                    break;
                }
                before += weight;
                expected.push(at);
            }
            expected.sort_unstable();
            let mut kept = weights.clone();
            keep_most_probable(&mut kept, &logits, top_p);
            assert_eq!(kept.iter().map(|(at, _)| *at).collect::<Vec<_>>(), expected, "{top_p}");
        }
    }

    /// Each index comes up as often as its probability says, within five standard errors.
    #[test]
    fn draws_follow_the_probabilities() {
        let (count, share) = (20_000, [0.4f32, 0.1, 0.05, 0.45]);
        let logits = Tensor::new([count, 4], share.map(f32::ln).repeat(count));
        let source = Source::new(3, &[&Value::from(Tensor::scalar(7i64))]).unwrap();
        let drawn = sample(&logits, &source, NONE).unwrap();
        assert_eq!(drawn.shape(), [count]);
        for (at, share) in share.iter().map(|share| f64::from(*share)).enumerate() {
            let found = drawn.to_f64().iter().filter(|index| **index == at as f64).count() as f64 / count as f64;
            assert!((found - share).abs() < 5.0 * (share * (1.0 - share) / count as f64).sqrt(), "{at}: {found}");
        }
    }

    /// Pinned, so that programs draw the same tokens in later versions; and a draw hangs on its row's number alone.
    #[test]
    fn draws_are_a_function_of_seed_stream_and_row() {
        let draw = |rows: usize, seed: i64, stream: i64| {
            let source = Source::new(seed, &[&Value::from(Tensor::scalar(stream))]).unwrap();
            sample(&Tensor::new([rows, 1000], vec![0.0f32; rows * 1000]), &source, NONE).unwrap().values::<i64>().unwrap().to_vec()
        };
        let first = draw(3, 42, 0);
        assert_eq!(first[..2], draw(2, 42, 0));
        assert_ne!(first[0], first[1]);
        assert_eq!([draw(1, 42, 0), draw(1, 42, 1), draw(1, 43, 0)].concat(), PINNED);
    }

    const PINNED: [i64; 3] = [468, 126, 284];
}
