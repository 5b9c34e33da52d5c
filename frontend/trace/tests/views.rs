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

    /// `known` says whether all sizes are known before prompts are bound.
    fn random(&self, random: &mut Random, known: bool) -> View {
        let rank = self.shape.len();
        let signed = |dim: usize, random: &mut Random| if random.below(2) == 0 { dim as i64 } else { dim as i64 - rank as i64 };
        let mut shape = self.shape.clone();
        match random.below(11) {
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
            5 if rank > 0 => {
                // Each dimension is put before a random one of those that are there.
                let mut order = vec![];
                (0..rank).for_each(|dim| order.insert(random.below(order.len() + 1), dim));
                let shape = order.iter().map(|&dim| self.shape[dim]).collect();
                let value = self.value.permute(order.iter().map(|&dim| signed(dim, random)).collect::<Vec<_>>());
                self.map(value, shape, |index| {
                    let mut old = vec![0; rank];
                    order.iter().zip(index).for_each(|(&dim, &index)| old[dim] = index);
                    old
                })
            }
            6 if rank > 1 => {
                let first = random.below(rank);
                let last = first + random.below(rank - first);
                let shape = [&shape[..first], &[shape[first..=last].iter().product()], &shape[last + 1..]].concat();
                let value = self.value.flatten(signed(first, random), signed(last, random));
                View { value, shape, at: self.at.clone() }
            }
            7 if rank > 0 => {
                let dim = random.below(rank);
                let first = random.below(shape[dim] + 1);
                let sizes = [first as i64, (shape[dim] - first) as i64];
                let (piece, start) = if first == 0 || (first < shape[dim] && random.below(2) == 0) { (1, first) } else { (0, 0) };
                shape[dim] = sizes[piece] as usize;
                let value = self.value.split_sizes(sizes, signed(dim, random)).swap_remove(piece);
                self.map(value, shape, |index| {
                    let mut index = index.to_vec();
                    index[dim] += start;
                    index
                })
            }
            // What hangs on sizes that only the prompt tells.
            8 if rank > 0 && known => {
                let (dim, size) = (random.below(rank), 1 + random.below(3));
                let pieces = self.value.split(size as i64, signed(dim, random));
                assert_eq!(pieces.len(), shape[dim].div_ceil(size));
                let piece = random.below(pieces.len());
                let start = piece * size;
                shape[dim] = size.min(shape[dim] - start);
                self.map(pieces[piece].clone(), shape, |index| {
                    let mut index = index.to_vec();
                    index[dim] += start;
                    index
                })
            }
            9 if known => {
                let dim = if rank == 0 || random.below(2) == 0 { None } else { Some(random.below(rank)) };
                let gone = |at: usize| self.shape[at] == 1 && dim.is_none_or(|dim| dim == at);
                let shape = (0..rank).filter(|&at| !gone(at)).map(|at| self.shape[at]).collect();
                let value = self.value.squeeze(dim.map(|dim| signed(dim, random)));
                View { value, shape, at: self.at.clone() }
            }
            10 if rank > 1 && known => {
                let (a, b) = (random.below(rank), random.below(rank - 1));
                let b = b + usize::from(b >= a);
                let offset = random.below(3) as i64 - 1;
                let (down, right) = ((-offset).max(0) as usize, offset.max(0) as usize);
                let length = (shape[a].saturating_sub(down)).min(shape[b].saturating_sub(right));
                if length == 0 {
                    return self.clone();
                }
                let others: Vec<usize> = (0..rank).filter(|&at| at != a && at != b).collect();
                let shape = others.iter().map(|&at| self.shape[at]).chain([length]).collect();
                let value = self.value.diagonal(offset, signed(a, random), signed(b, random));
                self.map(value, shape, |index| {
                    let mut old = vec![0; rank];
                    others.iter().zip(index).for_each(|(&at, &index)| old[at] = index);
                    let at = index[index.len() - 1];
                    (old[a], old[b]) = (at + down, at + right);
                    old
                })
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
    for seed in 0..400 {
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
            let view = views[random.below(views.len())].random(&mut random, seed % 2 == 0);
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

/// The values that a program saves, of a hook that holds 0 to 35.
fn saved(session: &Session) -> Vec<Vec<f64>> {
    let given = Tensor::new([1, 9, 4], (0..36).map(|x| x as f32).collect());
    run(&program(session), &given).iter().map(Tensor::to_f64).collect()
}

#[test]
fn what_ids_pick_is_a_copy_that_can_be_set() {
    let session = session();
    let h = session.trace("nine tokens").hook(layer(0));
    let picked = h.at((0, [-1, 0], 1..3));
    picked.save("before");
    h.at((0, [1, 8])).at(0).set(-1.0); // a part of a copy
    h.at((0, -1)).set(5.0);
    picked.save("a copy");
    h.at((.., session.tensor([0i64, -1]), Ellipsis, 2)).set([[7.0, 8.0]]);
    picked.set([[1.0], [2.0]]);
    picked.save("set");
    h.at((0, [0, 1, 8])).save("all");
    let mut sum = h.at((0, [0], [0]));
    sum += 100.0;
    h.at((0, 0)).save("the first row");
    assert_eq!(
        saved(&session),
        [
            vec![33.0, 34.0, 1.0, 2.0],
            vec![33.0, 34.0, 1.0, 2.0],
            vec![1.0, 1.0, 2.0, 2.0],
            vec![0.0, 2.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 5.0, 1.0, 1.0, 5.0],
            vec![100.0, 2.0, 2.0, 3.0],
        ]
    );
}

#[test]
fn ids_stand_where_pytorch_puts_them() {
    let session = session();
    let h = session.trace([1; 9]).hook(layer(0));
    for (value, shape) in [
        (h.at((.., [1, 2, 3])), vec![1, 3, 4]),
        (h.at((.., .., [1, 2])), vec![1, 9, 2]),
        (h.at((Ellipsis, [1, 2])), vec![1, 9, 2]),
        (h.at(([0, 0], .., [1, 2])), vec![2, 9]),
        (h.at((.., [0, 0], [1, 2])), vec![1, 2]),
        (h.at(([0, 0, 0], Ellipsis, 1)), vec![3, 9]),
        (h.at((Ellipsis, [1, 2], 3)), vec![1, 2]),
        (h.at((0, vec![4i64])), vec![1, 4]),
        (h.slice(1, [4]), vec![1, 1, 4]),
        (h.at(Tensor::new([2, 2], vec![0i64; 4])), vec![2, 2, 9, 4]),
    ] {
        let ty = session.record().ty(&value.at).cloned();
        assert_eq!(ty, Some(irc_ir::types::Type::tensor(DType::F32, shape.into_iter().map(|size: usize| size.into()))));
    }
}

#[test]
fn what_pytorch_does_not_set_is_a_mistake() {
    type Make = fn(&Value);
    let mistakes: [(&str, Make); 4] = [
        ("expanded", |h| h.unsqueeze(0).expand([2, -1, -1, -1]).set(0.0)),
        ("a piece cannot", |h| h.unary(Op::Chunk { chunks: 2, dim: 1 }).get(0).set(0.0)),
        ("number of pieces", |h| drop(h.chunk(2, 1))),
        ("diagonal", |h| h.diagonal(0, 1, 2).set(0.0)),
    ];
    for (what, make) in mistakes {
        let session = session();
        make(&session.trace("a prompt").hook(layer(0)));
        let found = error(&session);
        assert!(found.code == Code::E1005 && found.message.contains(what), "{found}");
    }
    // Nothing is expanded, so nothing is set twice.
    let session = session();
    let h = session.trace([1; 9]).hook(layer(0));
    h.expand([1, 1, -1, -1]).set(3.0);
    h.at((0, 0, 0)).save("set");
    assert_eq!(saved(&session), [[3.0]]);
}

/// All methods make what they say: names and attributes of their operations.
#[test]
fn methods_are_operations() {
    let session = session();
    let h = session.trace([1; 9]).hook(layer(0)).at(0);
    let mask = h.gt(0.0);
    let list = session.list_of(irc_ir::types::Type::Str).append("a");
    let list = list.join(&session.list(["b"]));
    let all = [
        h.flip([0]),
        h.roll(1, 0),
        h.repeat([1, 2]),
        h.repeat_interleave(2, 0),
        h.tril(0),
        h.triu(-1),
        h.at(0).outer(h.at(1)),
        h.index_select(1, [0]),
        h.index_add(0, [0, 0], 1.0),
        h.scatter(0, Tensor::new([1, 1], vec![0i64]), 1.0),
        h.scatter_add(0, Tensor::new([1, 1], vec![0i64]), 1.0),
        h.masked_fill(&mask, -1.0),
        h.masked_select(&mask, 36, 0.0),
        mask.nonzero(36, -1),
        h.argmax(-1).one_hot(4),
        h.half(),
        h.bfloat16(),
        h.double(),
        h.long(),
        h.int(),
        h.bool(),
        h.half().float(),
        session.full([2], 0.5),
        session.zeros([2], DType::I64),
        session.ones([2], DType::BF16),
        session.arange(0.0, 3.0, 1.0, DType::I64),
        session.linspace(0.0, 1.0, 3),
        session.eye(2, DType::F32),
        session.random(1).uniform([2], 0.0, 1.0),
        session.random(1).stream(h.argmax(..)).dtype(DType::F64).normal([2], 0.0, 1.0),
        session.random(1).stream(3).int([2], 0, 5),
        session.einsum("ij,ij->", [&h, &h]),
        list.item(0),
        list.item(list.length()),
        session.format("{}", [&h]),
    ];
    all.iter().enumerate().for_each(|(at, value)| drop(value.save(format!("{at}"))));
    let text = show(&program(&session));
    for part in [
        "flip(%2) {dims: [0]}",
        "[0, 0]) {dims: [0], accumulate: true}",
        "select(",
        "masked_select(",
        "{size: 36, fill: -1}",
        "cast(%2) {dtype: bf16}",
        "full {shape: [2], value: 0, dtype: i64}",
        "arange {end: 3.0}",
        "random_normal(",
        "random_int(3) {shape: [2], seed: 1, high: 5}",
        "einsum(%2, %2) {equation: \"ij,ij->\"}",
        "list {of: str}",
        "join(",
        "format(%2) {template: \"{}\"}",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    session.full([2], &h);
    assert_eq!(error(&session).code, Code::E1008);
}
