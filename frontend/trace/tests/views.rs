//! Random views of views, set in place, against the same done to a vector by index.

use irc_ir::{
    eval::{self, eval},
    graph::NodeId,
};

use super::*;

/// Small numbers without a library: a linear congruence, its upper bits.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// A view and which elements of the vector it shows, in its order.
#[derive(Clone)]
struct View {
    value: Value,
    shape: Vec<usize>,
    at: Vec<usize>,
}

impl View {
    /// The elements of another view, whose element at `index` is that of this one at `from(index)`.
    fn map(&self, value: Value, shape: Vec<usize>, from: impl Fn(&[usize]) -> Vec<usize>) -> View {
        let count = shape.iter().product();
        let at = (0..count).map(|flat| {
            let index = from(&unflatten(&shape, flat));
            self.at[index.iter().zip(&self.shape).fold(0, |flat, (index, size)| flat * size + index)]
        });
        View { value, at: at.collect(), shape }
    }

    fn random(&self, random: &mut Random) -> View {
        let rank = self.shape.len();
        let signed = |dim: usize, random: &mut Random| if random.below(2) == 0 { dim as i64 } else { dim as i64 - rank as i64 };
        let mut shape = self.shape.clone();
        match random.below(5) {
            0 if rank > 0 => {
                let dim = random.below(rank);
                let (start, step) = (random.below(shape[dim]), 1 + random.below(2));
                let end = start + 1 + random.below(shape[dim] - start);
                shape[dim] = (end - start).div_ceil(step);
                let value = self.value.slice(signed(dim, random), every(start..end, step as i64));
                self.map(value, shape, |index| {
                    let mut index = index.to_vec();
                    index[dim] = start + index[dim] * step;
                    index
                })
            }
            1 if rank > 0 => {
                let dim = random.below(rank);
                let index = random.below(shape[dim]);
                let written = if random.below(2) == 0 { index as i64 } else { index as i64 - shape[dim] as i64 };
                shape.remove(dim);
                let value = self.value.index(signed(dim, random), written);
                self.map(value, shape, |others| [&others[..dim], &[index], &others[dim..]].concat())
            }
            2 if rank > 1 => {
                let (a, b) = (random.below(rank), random.below(rank));
                shape.swap(a, b);
                let value = self.value.transpose(signed(a, random), signed(b, random));
                self.map(value, shape, |index| {
                    let mut index = index.to_vec();
                    index.swap(a, b);
                    index
                })
            }
            3 if rank < 5 => {
                let dim = random.below(rank + 1);
                shape.insert(dim, 1);
                let written = if random.below(2) == 0 { dim as i64 } else { dim as i64 - rank as i64 - 1 };
                self.map(self.value.unsqueeze(written), shape, |index| [&index[..dim], &index[dim + 1..]].concat())
            }
            4 if rank > 1 => {
                // Two neighbours become one dimension.
                let dim = random.below(rank - 1);
                let shape = [&shape[..dim], &[shape[dim] * shape[dim + 1]], &shape[dim + 2..]].concat();
                let value = self.value.reshape(shape.iter().map(|&size| size as i64).collect::<Vec<_>>());
                View { value, shape, at: self.at.clone() }
            }
            _ => self.clone(),
        }
    }
}

fn unflatten(shape: &[usize], flat: usize) -> Vec<usize> {
    let mut rest = flat;
    let mut index: Vec<usize> = shape.iter().rev().map(|size| (rest % size, rest /= size).0).collect();
    index.reverse();
    index
}

/// The values of a program whose one forward has `given` at every hook.
fn run(graph: &Graph, given: &Tensor) -> Vec<Tensor> {
    let mut values: Vec<eval::Value> = vec![];
    for (_, node) in graph.nodes() {
        let operands: Vec<&eval::Value> = node.operands.iter().map(|operand: &NodeId| &values[operand.index()]).collect();
        let value = match &node.op {
            Op::Forward { .. } => operands[0].clone(),
            Op::Read { .. } => given.clone().into(),
            op => eval(op, &operands).unwrap_or_else(|error| panic!("{}\n{}", error.message(), show(graph))),
        };
        values.push(value);
    }
    graph.effects.iter().map(|effect| values[effect.operands[0].index()].clone().into_tensor().expect("a tensor")).collect()
}

#[test]
fn views_are_what_they_are_in_memory() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let session = session();
        let given = Tensor::new([1, 9, 4], (0..36).map(|x| x as f32).collect());
        // Known sizes and symbolic ones, a hook and a result.
        let trace = if seed % 2 == 0 { session.trace([1; 9]) } else { session.trace("nine tokens") };
        let hook = trace.hook(layer(0));
        let value = if seed % 3 == 0 { hook + 0.0 } else { hook };
        let mut memory: Vec<f32> = given.to_f64().into_iter().map(|x| x as f32).collect();
        let mut views = vec![View { value, shape: vec![1, 9, 4], at: (0..36).collect() }];
        for step in 0..12 {
            let view = views[random.below(views.len())].random(&mut random);
            if random.below(2) == 0 {
                // A value of the view's last dimensions, some of them 1.
                let last = random.below(view.shape.len() + 1);
                let shape: Vec<usize> = view.shape[last..].iter().map(|&size| if random.below(4) == 0 { 1 } else { size }).collect();
                let count: usize = shape.iter().product();
                let values: Vec<f32> = (0..count).map(|x| (100 * step + x) as f32).collect();
                for (flat, &at) in view.at.iter().enumerate() {
                    let index = unflatten(&view.shape, flat);
                    let from = index[last..].iter().zip(&shape).fold(0, |flat, (&index, &size)| flat * size + index.min(size - 1));
                    memory[at] = values[from];
                }
                view.value.set(Tensor::new(shape, values));
            }
            views.push(view);
        }
        for (at, view) in views.iter().enumerate() {
            view.value.save(format!("{at}"));
        }
        let graph = program(&session);
        for (view, found) in views.iter().zip(run(&graph, &given)) {
            let expected: Vec<f32> = view.at.iter().map(|&at| memory[at]).collect();
            assert!(found.same_bits(&Tensor::new(&view.shape, expected)), "seed {seed}: {found:?}\n{}", show(&graph));
        }
    }
}
