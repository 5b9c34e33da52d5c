//! Steps for operations that few operands or attributes fit: indices that lie inside, masks, equations, classes.

use super::walk::Walk;
use crate::{
    attr::{Float, Reduction},
    graph::NodeId,
    op::{Op, OpKind},
    tensor::Tensor,
    types::{DType, Dim},
};

/// Whether an operation has a step of its own here: anything else is put together from any values.
pub(super) fn is_made_here(kind: OpKind) -> bool {
    use OpKind::*;
    let by_ids = matches!(kind, Gather | Embedding | IndexSelect | IndexBy | IndexPut | Scatter | ScatterAdd | OneHot);
    let masked = matches!(kind, NonZero | MaskedSelect);
    let creation = matches!(kind, Const | Full | Arange | Linspace | Eye | RandomUniform | RandomNormal | RandomInt | Sample);
    by_ids || masked || creation || matches!(kind, CrossEntropy | Einsum | List | Append | Join | Item | Length | Format)
}

impl Walk<'_> {
    /// Any of them.
    pub(super) fn fitting(&mut self) {
        match self.dice.below(16) {
            0..=2 => self.indexing(),
            3..=4 => self.norm_or_rotary(),
            5..=7 => self.by_ids(),
            8..=9 => self.masked(),
            10..=11 => self.creation(),
            12 => self.einsum(),
            13..=14 => self.list(),
            _ => self.cross_entropy(),
        }
    }

    /// Picks by indices that lie inside.
    fn indexing(&mut self) {
        let Some(from) = self.value() else { return };
        let Some(sizes) = self.sizes_of(from) else { return };
        if sizes.len() == 2 && self.dice.once_in(2) {
            let ids = (0..3).map(|_| self.dice.below(sizes[0]) as i64).collect();
            let ids = self.constant(&Tensor::new([3], ids));
            self.add(Op::Embedding {}, &[from, ids]);
            return;
        }
        let dim = self.dice.below(sizes.len());
        let mut shape: Vec<usize> = sizes.iter().map(|size| 1 + self.dice.below(*size)).collect();
        shape[dim] = self.dice.below(4);
        let count = shape.iter().product();
        if count > self.config.elements as usize {
            return;
        }
        let indices = (0..count).map(|_| self.dice.below(sizes[dim]) as i64).collect();
        let indices = self.constant(&Tensor::new(shape, indices));
        self.add(Op::Gather { dim: dim as i64 }, &[from, indices]);
    }

    /// Entries picked or set by ids that are inside, from the end or from the beginning.
    fn by_ids(&mut self) {
        let Some(from) = self.value() else { return };
        let Some(sizes) = self.sizes_of(from) else { return };
        let dim = self.dice.below(sizes.len());
        let ids = |walk: &mut Self, dim: usize, shape: &[usize], signed: bool| {
            let size = sizes[dim] as i64;
            let low = if signed { -size } else { 0 };
            let ids = (0..shape.iter().product()).map(|_| walk.dice.between(low, size - 1)).collect();
            walk.constant(&Tensor::new(shape, ids))
        };
        let number = self.dice.float();
        let number = self.constant(&Tensor::scalar(number));
        let accumulate = self.dice.once_in(2);
        let along = dim as i64;
        match self.dice.below(6) {
            0 => {
                let ids = ids(self, dim, &[3], false);
                self.add(Op::IndexSelect { dim: along }, &[from, ids]);
            }
            1 => {
                let ids = ids(self, dim, &[2, 1], true);
                self.add(Op::IndexBy { dims: vec![along] }, &[from, ids]);
                self.add(Op::IndexPut { dims: vec![along], accumulate }, &[from, number, ids]);
            }
            2 => {
                let (first, last) = (ids(self, 0, &[2], true), ids(self, sizes.len() - 1, &[2], true));
                let dims = vec![-1, 0];
                self.add(Op::IndexBy { dims: dims.clone() }, &[from, last, first]);
                self.add(Op::IndexPut { dims, accumulate }, &[from, number, last, first]);
            }
            kind => {
                let mut shape: Vec<usize> = sizes.iter().map(|size| 1 + self.dice.below(*size)).collect();
                shape[dim] = 2;
                let ids = ids(self, dim, &shape, false);
                match kind {
                    3 => self.add(Op::Scatter { dim: along }, &[from, ids, number]),
                    4 => self.add(Op::ScatterAdd { dim: along }, &[from, ids, number]),
                    _ => self.add(Op::OneHot { classes: sizes[dim] as i64 }, &[ids]),
                };
            }
        }
    }

    /// What a mask picks, in a size that is surely enough.
    fn masked(&mut self) {
        let Some(from) = self.value() else { return };
        let Some(sizes) = self.sizes_of(from) else { return };
        let size = sizes.iter().product::<usize>() as i64;
        let Some(mask) = self.add(Op::Not {}, &[from]) else { return };
        if self.dice.once_in(2) {
            self.add(Op::NonZero { size, fill: Some(-1) }, &[mask]);
        } else {
            self.add(Op::MaskedSelect { size, fill: Some(Float::new(1.0)) }, &[from, mask]);
        }
    }

    fn creation(&mut self) {
        let shape: Vec<Dim> = self.dice.pick(&[vec![], vec![3], vec![2, 3], vec![0, 2]]).into_iter().map(Dim::known).collect();
        let seed = self.dice.between(0, 3);
        let float = |dice: &mut super::Dice| Float::new(f64::from(dice.float()));
        let stream: Vec<NodeId> = if self.dice.once_in(2) { vec![self.constant(&Tensor::scalar(seed))] } else { vec![] };
        let (low, dtype) = (float(&mut self.dice), DType::F32);
        let high = Float::new(low.get() + 1.5);
        let number = |number: i64| Float::new(number as f64);
        match self.dice.below(8) {
            0 => self.add(Op::Full { shape, value: (&Tensor::scalar(seed)).into(), dtype: Some(dtype) }, &[]),
            1 => self.add(Op::Arange { start: number(-seed), end: number(4), step: number(2), dtype: DType::I64 }, &[]),
            2 => self.add(Op::Linspace { start: low, end: high, steps: seed, dtype }, &[]),
            3 => self.add(Op::Eye { rows: 3, columns: Some(seed), dtype }, &[]),
            4 => self.add(Op::RandomUniform { shape, seed, low, high, dtype }, &stream),
            5 => self.add(Op::RandomNormal { shape, seed, mean: low, std: Float::new(high.get().max(0.0)), dtype }, &stream),
            6 => self.add(Op::RandomInt { shape, seed, low: -seed, high: 9, dtype: DType::I64 }, &stream),
            _ => {
                // Of logits that are the same everywhere: a last digit would lead elsewhere.
                let (mean, std) = (Float::new(0.0), Float::new(2.0));
                let logits = Op::RandomNormal { shape: vec![Dim::known(2), Dim::known(9)], seed, mean, std, dtype };
                let Some(logits) = self.add(logits, &stream) else { return };
                let (temperature, top_p, min_p) = self.dice.pick(&[(1.0, 1.0, 0.0), (0.7, 0.8, 0.0), (1.5, 0.9, 0.1)]);
                let [temperature, top_p, min_p] = [temperature, top_p, min_p].map(Float::new);
                let top_k = self.dice.pick(&[None, Some(3)]);
                let operands: Vec<NodeId> = [logits].into_iter().chain(stream).collect();
                self.add(Op::Sample { seed, temperature, top_k, top_p, min_p }, &operands)
            }
        };
    }

    fn einsum(&mut self) {
        let Some(value) = self.value() else { return };
        let Some(sizes) = self.sizes_of(value) else { return };
        let equation = match sizes.len() {
            1 => self.dice.pick(&["i->", "i,i", "i,j->ij"]),
            2 => self.dice.pick(&["ij->ji", "ij,kj", "ij,ij->j", "...i->..."]),
            _ => self.dice.pick(&["...ij,...kj->...ik", "...i,...i->...", "a...->...a"]),
        };
        let count = 1 + equation.matches(',').count();
        self.add(Op::Einsum { equation: equation.into() }, &vec![value; count]);
    }

    /// A list of one value, made longer; and what is in it, as a value or in a text.
    fn list(&mut self) {
        let Some(value) = self.value() else { return };
        let of = self.dice.once_in(2).then(|| self.ty(value).clone());
        let Some(one) = self.add(Op::List { of: of.map(Box::new) }, &[value]) else { return };
        let appended: Vec<NodeId> = [one, value].into_iter().chain(self.condition_sometimes()).collect();
        // Where a condition decides, `two` may have one value as well.
        let Some(two) = self.add(Op::Append {}, &appended) else { return };
        let Some(three) = self.add(Op::Join {}, &[two, one]) else { return };
        match self.dice.below(4) {
            0 => {
                self.add(Op::Item { index: Some(if appended.len() == 2 { -3 } else { -2 }) }, &[three]);
            }
            1 => {
                let length = self.add(Op::Length {}, &[one]);
                let of = if appended.len() == 2 { two } else { three };
                length.and_then(|at| self.add(Op::Item { index: None }, &[of, at]));
            }
            2 => {
                self.add(Op::Length {}, &[three]);
            }
            _ => {
                self.add(Op::Format { template: "{} of {}".into() }, &[one, value]);
            }
        }
    }

    /// The loss of classes that are there, or are ignored.
    fn cross_entropy(&mut self) {
        let Some(logits) = self.value() else { return };
        let Some(mut shape) = self.sizes_of(logits) else { return };
        let count = shape.remove(usize::from(shape.len() > 1));
        let classes = (0..shape.iter().product()).map(|_| self.dice.below(count) as i64).collect();
        let classes = self.constant(&Tensor::new(shape, classes));
        let (ignore_index, label_smoothing) = (self.dice.pick(&[-100, 0]), Float::new(self.dice.pick(&[0.0, 0.1])));
        let reduction = self.dice.pick(&[Reduction::None, Reduction::Mean, Reduction::Sum]);
        self.add(Op::CrossEntropy { reduction, ignore_index, label_smoothing }, &[logits, classes]);
    }

    fn norm_or_rotary(&mut self) {
        let Some(value) = self.value() else { return };
        let Some(sizes) = self.sizes_of(value) else { return };
        let last = sizes[sizes.len() - 1];
        if self.dice.once_in(2) {
            let weight = (0..last).map(|_| self.dice.float()).collect();
            let weight = self.constant(&Tensor::new([last], weight));
            let norm = self.dice.pick(&[Op::RmsNorm { eps: Float::new(1e-5) }, Op::LayerNorm { eps: Float::new(1e-5) }]);
            self.add(norm, &[value, weight]);
        } else if let [batch, tokens, size] = sizes[..]
            && size % 8 == 0
        {
            let heads = Op::Reshape { shape: [batch, tokens, 4, size / 4].map(Dim::from).to_vec() };
            let Some(heads) = self.add(heads, &[value]) else { return };
            let positions = (0..batch * tokens).map(|_| self.dice.below(20) as i64).collect();
            let positions = self.constant(&Tensor::new([batch, tokens], positions));
            let pairs = self.dice.pick(&[1, size / 8]);
            let frequencies = (0..pairs).map(|_| self.dice.float().abs()).collect();
            let frequencies = self.constant(&Tensor::new([pairs], frequencies));
            let scale = Float::new(self.dice.pick(&[1.0, 1.5]));
            self.add(Op::Rotary { scale }, &[heads, positions, frequencies]);
        }
    }
}
