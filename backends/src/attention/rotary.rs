//! Rotary position embeddings, in Hugging Face's "rotate half" convention.

use super::{AttentionError, length};
use rayon::prelude::*;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// The most floats of a table, 64 MiB. Positions beyond it are computed each time.
const TABLE_FLOATS: usize = 1 << 24;
/// Below this many floats a call stays on its thread.
const SERIAL_FLOATS: usize = 1 << 17;

/// Rotates pairs (i, i + rotary_dim/2) of the first `rotary_dim` dimensions of each head by `position * inv_freq[i]`:
/// `x * cos + rotate_half(x) * sin`, the rest of the head untouched.
///
/// Angles, cosines and products are rounded to `f32` where transformers' `LlamaRotaryEmbedding` and `apply_rotary_pos_emb`
/// round them. Cosines and sines are computed in `f64` and then rounded, so that they are the nearest `f32`, whichever library
/// computes them; torch's may differ from that in the last bit. The table of cosines grows to the largest position seen and is kept; share
/// a `Rotary` between layers.
pub struct Rotary {
    inv_freq: Vec<f32>,
    scaling: f32,
    table: RwLock<Arc<Vec<f32>>>,
}

impl fmt::Debug for Rotary {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Rotary").field("inv_freq", &self.inv_freq).field("scaling", &self.scaling).finish_non_exhaustive()
    }
}

impl Rotary {
    /// From the inverse frequencies, one per rotated pair; cosines and sines are multiplied by `scaling` (transformers'
    /// `attention_scaling`, usually 1).
    pub fn new(inv_freq: Vec<f32>, scaling: f32) -> Self {
        Rotary { inv_freq, scaling, table: RwLock::default() }
    }

    /// How many dimensions of a head are rotated.
    pub fn rotary_dim(&self) -> usize {
        2 * self.inv_freq.len()
    }

    /// Rotates `x` [tokens, heads * head_dim] in place, token t by `positions[t]`.
    pub fn rotate(&self, x: &mut [f32], heads: usize, head_dim: usize, positions: &[u32]) -> Result<(), AttentionError> {
        let half = self.inv_freq.len();
        if self.rotary_dim() > head_dim {
            return Err(AttentionError::RotaryDim { rotary_dim: self.rotary_dim(), head_dim });
        }
        let width = heads.saturating_mul(head_dim);
        length("x", x.len(), width.saturating_mul(positions.len()))?;
        if half == 0 || x.is_empty() {
            return Ok(());
        }
        let table = self.table(positions.iter().max().map_or(0, |most| *most as usize + 1));
        let one = |(x, position): (&mut [f32], &u32)| {
            let beyond: Vec<f32>;
            let start = *position as usize * 2 * half;
            let line = match table.get(start..start + 2 * half) {
                Some(line) => line,
                None => {
                    beyond = self.lines(*position, 1);
                    &beyond
                }
            };
            let (cos, sin) = line.split_at(half);
            for head in x.chunks_exact_mut(head_dim) {
                let (first, second) = head[..2 * half].split_at_mut(half);
                for i in 0..half {
                    let (a, b) = (first[i], second[i]);
                    // Not fused, as in torch: two products and a sum. (-b) * sin + ... is exactly - (b * sin).
                    first[i] = a * cos[i] - b * sin[i];
                    second[i] = b * cos[i] + a * sin[i];
                }
            }
        };
        if x.len() < SERIAL_FLOATS {
            x.chunks_exact_mut(width).zip(positions).for_each(one);
        } else {
            x.par_chunks_exact_mut(width).zip(positions).with_min_len((SERIAL_FLOATS / 4 / width).max(1)).for_each(one);
        }
        Ok(())
    }

    /// cos, then sin, of `count` positions.
    fn lines(&self, first: u32, count: usize) -> Vec<f32> {
        let mut lines = vec![0.0; count * self.rotary_dim()];
        for (line, position) in lines.chunks_exact_mut(self.rotary_dim()).zip(first..=u32::MAX) {
            let (cos, sin) = line.split_at_mut(self.inv_freq.len());
            for (i, freq) in self.inv_freq.iter().enumerate() {
                let angle = f64::from(position as f32 * freq);
                cos[i] = angle.cos() as f32 * self.scaling;
                sin[i] = angle.sin() as f32 * self.scaling;
            }
        }
        lines
    }

    /// The lines of at least `positions` positions, if the table may be that long.
    fn table(&self, positions: usize) -> Arc<Vec<f32>> {
        let positions = positions.min(TABLE_FLOATS / self.rotary_dim());
        let wanted = positions * self.rotary_dim();
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner).clone();
        if table.len() >= wanted {
            return table;
        }
        let mut kept = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < wanted {
            let known = kept.len() / self.rotary_dim();
            let new = self.lines(known as u32, positions.next_power_of_two() - known);
            *kept = Arc::new([kept.as_slice(), &new].concat());
        }
        kept.clone()
    }
}
