//! What only attention has: rotary positions and the causal mask. Both compute in f32.

use irc_ir::{diagnostic::Diagnostic, graph::Node, tensor::Tensor, types::DType};

use super::Lowering;

impl Lowering<'_> {
    /// x * cos + rotate_half(x) * sin, the angles computed in the graph from the positions.
    pub(super) fn rotary(&mut self, node: &Node, dtype: DType, pairs: i64, size: i64, scale: f32) -> Result<String, Diagnostic> {
        let x = self.operand(node, 0, DType::F32)?;
        let (positions, frequencies) = (self.operand(node, 1, DType::F32)?, self.operand(node, 2, DType::F32)?);
        let positions = self.unsqueeze(&positions, 2);
        let angles = self.plain("Mul", &[&positions, &frequencies]);
        let angles = self.unsqueeze(&angles, 2);
        let [mut cos, mut sin] = ["Cos", "Sin"].map(|function| self.plain(function, &[&angles]));
        if scale != 1.0 {
            let scale = self.constant(&Tensor::scalar(scale));
            [cos, sin] = [cos, sin].map(|turn| self.plain("Mul", &[&turn, &scale]));
        }
        let (first, second) = (self.slice(&x, 3, 0, pairs, 1), self.slice(&x, 3, pairs, 2 * pairs, 1));
        let product = |this: &mut Self, a: &str, b: &str| this.plain("Mul", &[a, b]);
        let (a, b) = (product(self, &first, &cos), product(self, &second, &sin));
        let (c, d) = (product(self, &second, &cos), product(self, &first, &sin));
        let mut parts = vec![self.plain("Sub", &[&a, &b]), self.plain("Add", &[&c, &d])];
        if 2 * pairs < size {
            parts.push(self.slice(&x, 3, 2 * pairs, size, 1));
        }
        let turned = self.concat(&parts, 3);
        Ok(self.cast(&turned, DType::F32, dtype))
    }

    /// -infinity where the key lies after the query, or before its window.
    pub(super) fn causal_mask(&mut self, node: &Node, dtype: DType, window: Option<i64>) -> Result<String, Diagnostic> {
        let scores = self.operand(node, 0, DType::F32)?;
        let [query, key] = match self.tensor(node.operands[0])?.shape[..] {
            [.., ref queries, ref keys] if let (Some(queries), Some(keys)) = (queries.as_known(), keys.as_known()) => {
                let [query, key] = [keys - queries..keys, 0..keys].map(Iterator::collect::<Vec<i64>>);
                [Tensor::new([query.len(), 1], query), Tensor::new([key.len()], key)].map(|positions| self.constant(&positions))
            }
            _ => self.query_and_key(&scores),
        };
        let mut hidden = self.plain("Greater", &[&key, &query]);
        if let Some(window) = window {
            let window = self.constant(&Tensor::scalar(window));
            let oldest = self.plain("Sub", &[&query, &window]);
            let before = self.plain("LessOrEqual", &[&key, &oldest]);
            hidden = self.plain("Or", &[&hidden, &before]);
        }
        let never = self.constant(&Tensor::scalar(f32::NEG_INFINITY));
        let masked = self.plain("Where", &[&hidden, &never, &scores]);
        Ok(self.cast(&masked, DType::F32, dtype))
    }

    /// The positions of queries, as a column, and of keys, from the shape of their scores.
    fn query_and_key(&mut self, scores: &str) -> [String; 2] {
        let shape = self.plain("Shape", &[scores]);
        let size = |this: &mut Self, from: i64| {
            let axis = this.constant(&Tensor::scalar(from));
            this.emit("Gather", &[&shape, &axis], |node| node.attr("axis", 0))
        };
        let (queries, keys) = (size(self, -2), size(self, -1));
        let [zero, one] = [0i64, 1].map(|value| self.constant(&Tensor::scalar(value)));
        let past = self.plain("Sub", &[&keys, &queries]);
        let query = self.plain("Range", &[&past, &keys, &one]);
        [self.unsqueeze(&query, 1), self.plain("Range", &[&zero, &keys, &one])]
    }
}
