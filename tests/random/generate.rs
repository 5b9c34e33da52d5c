//! A random walk through well-typed programs: each step picks an operation, attributes and operands, and stays if they fit.

use std::collections::HashMap;

use irc::ir::{
    attr::{Attr, AttrKind, Float, Reduction},
    diagnostic::Span,
    graph::{Effect, EffectKind, Graph, ModelDecl, NodeId},
    infer::{Models, infer},
    model::ModelSpec,
    op::{Arity, AttrDecl, Op, OpKind, Scope},
    tensor::Tensor,
    types::{DType, Dim, Name, TensorType, Type, elements},
};

/// The names of the models that programs use.
pub(crate) const MODELS: [&str; 2] = ["m", "second model"];

/// Tensors of programs have no more elements, so that they run quickly.
const MOST: i64 = 3000;

/// Numbers without a pattern, the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % count.max(1)
    }

    fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as usize) as i64
    }

    /// One in `of` times.
    fn once_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    /// From -1 to 1.
    pub(crate) fn float(&mut self) -> f32 {
        self.below(20_001) as f32 / 10_000.0 - 1.0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

struct Walk<'a> {
    dice: Dice,
    models: &'a Models,
    spec: &'a ModelSpec,
    graph: Graph,
    types: Vec<Type>,
    /// Values that are token ids for sure.
    ids: Vec<NodeId>,
    forwards: Vec<NodeId>,
}

/// The program of a seed.
pub(crate) fn program(seed: u64, models: &Models) -> Graph {
    let spec = models.values().next().expect("there is a model");
    let mut graph = Graph::new(format!("random {seed}"));
    let declare = |name: &&str| ModelDecl { name: Name::from(*name), reference: "induction".into(), span: Span::None };
    graph.models = MODELS.iter().map(declare).collect();
    let mut walk = Walk { dice: Dice::new(seed), models, spec, graph, types: vec![], ids: vec![], forwards: vec![] };
    walk.begin();
    let length = walk.dice.between(20, 60) as usize;
    while walk.graph.len() < length {
        walk.step();
    }
    walk.effects();
    walk.graph
}

impl Walk<'_> {
    /// Adds a node if its operands fit and the result is not too large.
    fn add(&mut self, op: Op, operands: &[NodeId]) -> Option<NodeId> {
        let types: Vec<&Type> = operands.iter().map(|operand| &self.types[operand.index()]).collect();
        let ty = infer(&op, &types, self.models).ok()?;
        let small = |ty: &TensorType| elements(&ty.shape).as_known().is_some_and(|count| count <= MOST);
        let small = match &ty {
            Type::Tensor(tensor) => small(tensor),
            Type::Tuple(parts) => parts.len() <= 4 && parts.iter().all(|part| part.as_tensor().is_none_or(small)),
            _ => true,
        };
        if !small {
            return None;
        }
        let id = self.graph.add(op, operands.iter().copied(), Span::None);
        if self.dice.once_in(3) {
            self.graph.set_label(id, format!("{}_{}", self.dice.pick(&["h", "x", "a value"]), id.index()));
        }
        self.types.push(ty);
        Some(id)
    }

    fn constant(&mut self, tensor: &Tensor) -> NodeId {
        self.add(Op::Const { value: tensor.into() }, &[]).expect("constants have no operands that could not fit")
    }

    /// Token ids. Some prompts are equal, and many begin alike.
    fn tokens(&mut self, length: usize) -> NodeId {
        let batch = 1 + usize::from(self.dice.once_in(4));
        let few = self.dice.pick(&[1, 2, 16]);
        let tokens = (0..batch * length).map(|_| self.dice.below(few) as i64).collect();
        let id = self.constant(&Tensor::new([batch, length], tokens));
        self.ids.push(id);
        id
    }

    /// Two or three forwards, with values of theirs.
    fn begin(&mut self) {
        let length = self.dice.between(1, 6) as usize;
        for _ in 0..self.dice.between(2, 3) {
            let tokens = if self.ids.is_empty() || !self.dice.once_in(3) { self.tokens(length) } else { self.dice.pick(&self.ids) };
            self.forward(tokens);
        }
        for _ in 0..4 {
            self.read();
        }
    }

    fn step(&mut self) {
        match self.dice.below(36) {
            0 => {
                let ids = self.dice.pick(&self.ids);
                self.forward(ids);
            }
            1..=4 => drop(self.read()),
            5..=7 => self.write(),
            8..=9 => self.apply(),
            10 => drop(self.literal()),
            11 => self.gather(),
            12 => self.embedding(),
            13 => self.new_ids(),
            14 => self.norm_or_rotary(),
            15..=16 => self.by_ids(),
            17 => self.masked(),
            18 => self.creation(),
            19 => self.einsum(),
            20 => self.list(),
            21 => self.cross_entropy(),
            _ => self.operation(),
        }
    }

    fn forward(&mut self, tokens: NodeId) {
        let model = Name::from(self.dice.pick(&MODELS));
        let forward = self.add(Op::Forward { model }, &[tokens]);
        self.forwards.extend(forward);
    }

    fn hook(&mut self) -> Name {
        let hooks = self.spec.hooks();
        // The residual stream is what most programs are about.
        let residual: Vec<_> = hooks.iter().filter(|hook| hook.name.ends_with("put") && hook.name.matches('.').count() == 3).collect();
        if self.dice.once_in(2) { self.dice.pick(&residual).name.clone() } else { self.dice.pick(hooks).name.clone() }
    }

    fn read(&mut self) -> Option<NodeId> {
        let (forward, hook) = (self.dice.pick(&self.forwards), self.hook());
        self.add(Op::Read { hook }, &[forward])
    }

    /// Writes a value that fits: one that is there, or one that is made of what is read.
    fn write(&mut self) {
        let (forward, hook) = (self.dice.pick(&self.forwards), self.hook());
        let op = Op::Write { hook: hook.clone() };
        for _ in 0..6 {
            let value = self.value();
            if self.types[value.index()].as_tensor().is_some_and(|ty| ty.dtype == DType::F32)
                && let Some(written) = self.add(op.clone(), &[forward, value])
            {
                return self.forwards.push(written);
            }
        }
        let source = self.dice.pick(&self.forwards);
        let Some(old) = self.add(Op::Read { hook }, &[source]) else { return };
        let part = Op::Update { dim: self.dice.between(-3, -1), start: Some(self.dice.between(-2, 1)), end: None, step: 1 };
        let number = self.dice.float();
        let number = self.constant(&Tensor::scalar(number));
        let new = match self.dice.below(3) {
            0 => self.add(part, &[old, number]),
            1 => self.add(Op::Mul {}, &[old, number]),
            _ => Some(old),
        };
        // Token ids and positions that are written must stay what the embeddings have rows for.
        let integers = self.types[old.index()].as_tensor().is_some_and(|ty| ty.dtype == DType::I64);
        let value = if integers { Some(old) } else { new };
        let written = value.and_then(|value| self.add(op, &[forward, value]));
        self.forwards.extend(written);
    }

    fn apply(&mut self) {
        let modules: Vec<_> = self.spec.modules().map(|module| module.path.clone()).collect();
        for _ in 0..10 {
            let (model, module, value) = (Name::from(self.dice.pick(&MODELS)), self.dice.pick(&modules), self.value());
            if self.types[value.index()].as_tensor().is_some_and(|ty| ty.dtype == DType::F32 && elements(&ty.shape) != Dim::known(0)) {
                self.add(Op::Apply { model, module }, &[value]);
            }
        }
    }

    /// A small tensor, or sometimes a text.
    fn literal(&mut self) -> NodeId {
        if self.dice.once_in(8) {
            let text = irc::ir::attr::Literal::Str(self.dice.pick(&["", "a text", "\"quoted\" \\ é"]).into());
            return self.add(Op::Const { value: text }, &[]).expect("constants have no operands that could not fit");
        }
        let shape = self.dice.pick(&[vec![], vec![], vec![1], vec![3], vec![64], vec![2, 3], vec![2, 1, 4], vec![0, 2]]);
        let count: usize = shape.iter().product();
        let tensor = match self.dice.below(4) {
            0 => Tensor::new(shape, (0..count).map(|_| self.dice.between(-4, 9)).collect::<Vec<i64>>()),
            1 => Tensor::new(shape, (0..count).map(|_| self.dice.once_in(2)).collect::<Vec<bool>>()),
            _ => Tensor::new(shape, (0..count).map(|_| self.dice.float()).collect::<Vec<f32>>()),
        };
        self.constant(&tensor)
    }

    /// Any value that is no forward; the later ones more often.
    fn value(&mut self) -> NodeId {
        loop {
            let at = self.dice.below(self.types.len());
            let at = at.max(self.dice.below(self.types.len()));
            if !matches!(self.types[at], Type::Forward(_)) {
                return NodeId::new(at);
            }
        }
    }

    /// A tensor with dimensions of sizes that are known and not 0.
    fn sizes_of(&self, id: NodeId) -> Option<Vec<usize>> {
        let ty = self.types[id.index()].as_tensor()?;
        let sizes: Vec<usize> = ty.shape.iter().filter_map(|dim| dim.as_usize()).collect();
        (!sizes.is_empty() && !sizes.contains(&0)).then_some(sizes)
    }

    /// Picks along a dimension by indices that are inside.
    fn gather(&mut self) {
        let from = self.value();
        let Some(sizes) = self.sizes_of(from) else { return };
        let dim = self.dice.below(sizes.len());
        let mut shape: Vec<usize> = sizes.iter().map(|size| 1 + self.dice.below(*size)).collect();
        shape[dim] = self.dice.between(0, 3) as usize;
        let indices = (0..shape.iter().product()).map(|_| self.dice.below(sizes[dim]) as i64).collect();
        let indices = self.constant(&Tensor::new(shape, indices));
        self.add(Op::Gather { dim: dim as i64 }, &[from, indices]);
    }

    /// Entries picked or set by ids that are inside, from the end or from the beginning.
    fn by_ids(&mut self) {
        let from = self.value();
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
        let from = self.value();
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
        let float = |dice: &mut Dice| Float::new(f64::from(dice.float()));
        let stream: Vec<NodeId> = if self.dice.once_in(2) { vec![self.constant(&Tensor::scalar(seed))] } else { vec![] };
        let (low, dtype) = (float(&mut self.dice), DType::F32);
        let high = Float::new(low.get() + 1.5);
        let number = |number: i64| Float::new(number as f64);
        match self.dice.below(7) {
            0 => self.add(Op::Full { shape, value: (&Tensor::scalar(seed)).into(), dtype: Some(dtype) }, &[]),
            1 => self.add(Op::Arange { start: number(-seed), end: number(4), step: number(2), dtype: DType::I64 }, &[]),
            2 => self.add(Op::Linspace { start: low, end: high, steps: seed, dtype }, &[]),
            3 => self.add(Op::Eye { rows: 3, columns: Some(seed), dtype }, &[]),
            4 => self.add(Op::RandomUniform { shape, seed, low, high, dtype }, &stream),
            5 => self.add(Op::RandomNormal { shape, seed, mean: low, std: Float::new(high.get().max(0.0)), dtype }, &stream),
            _ => self.add(Op::RandomInt { shape, seed, low: -seed, high: 9, dtype: DType::I64 }, &stream),
        };
    }

    fn einsum(&mut self) {
        let value = self.value();
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
        let value = self.value();
        let of = self.dice.once_in(2).then(|| self.types[value.index()].clone());
        let Some(one) = self.add(Op::List { of }, &[value]) else { return };
        let Some(two) = self.add(Op::Append {}, &[one, value]) else { return };
        let Some(three) = self.add(Op::Join {}, &[two, one]) else { return };
        match self.dice.below(4) {
            0 => {
                self.add(Op::Item { index: Some(-3) }, &[three]);
            }
            1 => {
                let length = self.add(Op::Length {}, &[one]);
                length.and_then(|at| self.add(Op::Item { index: None }, &[two, at]));
            }
            2 => {
                self.add(Op::Length {}, &[three]);
            }
            _ => {
                self.add(Op::Format { template: "{} of {}".into() }, &[one, value]);
            }
        }
    }

    fn embedding(&mut self) {
        let table = self.value();
        let Some(&[rows, _]) = self.sizes_of(table).as_deref() else { return };
        let ids = (0..3).map(|_| self.dice.below(rows) as i64).collect();
        let ids = self.constant(&Tensor::new([3], ids));
        self.add(Op::Embedding {}, &[table, ids]);
    }

    /// The loss of classes that are there, or are ignored.
    fn cross_entropy(&mut self) {
        let logits = self.value();
        let Some(mut shape) = self.sizes_of(logits) else { return };
        let count = shape.remove(usize::from(shape.len() > 1));
        let classes = (0..shape.iter().product()).map(|_| self.dice.below(count) as i64).collect();
        let classes = self.constant(&Tensor::new(shape, classes));
        let (ignore_index, label_smoothing) = (self.dice.pick(&[-100, 0]), Float::new(self.dice.pick(&[0.0, 0.1])));
        let reduction = self.dice.pick(&[Reduction::None, Reduction::Mean, Reduction::Sum]);
        self.add(Op::CrossEntropy { reduction, ignore_index, label_smoothing }, &[logits, classes]);
    }

    /// The prediction of a forward as the tokens of the next.
    fn new_ids(&mut self) {
        let forward = self.dice.pick(&self.forwards);
        let Some(logits) = self.add(Op::Read { hook: "lm_head.output".into() }, &[forward]) else { return };
        let ids = self.add(Op::Argmax { dim: Some(-1), keepdim: false }, &[logits]);
        self.ids.extend(ids);
    }

    fn norm_or_rotary(&mut self) {
        let value = self.value();
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

    /// Any operation of the table on any values.
    fn operation(&mut self) {
        let kinds = OpKind::ALL.iter().copied().filter(|kind| kind.scope() == Scope::Anywhere);
        let kinds: Vec<OpKind> = kinds.filter(|kind| !made_elsewhere(*kind)).collect();
        let kind = self.dice.pick(&kinds);
        for _ in 0..20 {
            let count = match kind.arity() {
                Arity::Exactly(count) => count,
                Arity::AtLeast(least) => least + self.dice.below(3),
                Arity::Between(least, most) => least + self.dice.below(most - least + 1),
            };
            let mut operands: Vec<NodeId> = (0..count).map(|_| self.value()).collect();
            // Values of type bool are rare, and one that fits is rarer: a condition is made of what it chooses from.
            if kind == OpKind::Select
                && let Some(condition) = self.add(Op::Not {}, &operands[1..2])
            {
                operands[0] = condition;
            }
            let sizes = operands.first().and_then(|operand| self.sizes_of(*operand)).unwrap_or_default();
            let mut attrs: HashMap<&str, Attr> = HashMap::new();
            for decl in kind.attrs() {
                if !decl.optional || self.dice.once_in(2) {
                    attrs.insert(decl.name, self.attribute(decl, &sizes));
                }
            }
            let op = Op::build(kind, &mut |name| attrs.remove(name)).expect("each attribute is of its kind");
            // Of floats that are large or no numbers, integers are the platform's; and by 0 they are not divided.
            let to_integers = matches!(op, Op::Cast { dtype: DType::I64 | DType::I32 | DType::U8 });
            let is_float = |id: &NodeId| self.types[id.index()].as_tensor().is_some_and(|ty| ty.dtype.is_float());
            let by_zero = matches!(kind, OpKind::FloorDiv | OpKind::Remainder | OpKind::Fmod) && !operands.iter().any(is_float);
            if !to_integers
                && !by_zero
                && let Some(id) = self.add(op, &operands)
            {
                if let Type::Tuple(parts) = &self.types[id.index()] {
                    let index = self.dice.below(parts.len()) as i64;
                    self.add(Op::Get { index }, &[id]);
                }
                return;
            }
        }
    }

    /// A value for an attribute, which may fit an operand of these sizes.
    fn attribute(&mut self, decl: &AttrDecl, sizes: &[usize]) -> Attr {
        let rank = sizes.len() as i64;
        let int = |dice: &mut Dice| match decl.name {
            "k" | "step" | "window" => dice.between(1, 3),
            name if name.starts_with("dim") => dice.between(-rank, rank.max(1) - 1),
            _ => dice.between(-3, 3),
        };
        match decl.kind {
            AttrKind::Int => Attr::Int(int(&mut self.dice)),
            AttrKind::OptionalInt => Attr::Int(int(&mut self.dice)),
            AttrKind::Bool => Attr::Bool(self.dice.once_in(2)),
            AttrKind::Float | AttrKind::OptionalFloat => Attr::Float(Float::new(match decl.name {
                "p" => self.dice.pick(&[0.0, 1.0, 2.0, 3.0, f64::INFINITY, f64::NEG_INFINITY]),
                "min" | "max" | "slope" | "alpha" | "beta" => f64::from(self.dice.float()),
                _ => self.dice.pick(&[1e-5, 10_000.0]),
            })),
            AttrKind::Reduction => Attr::Reduction(self.dice.pick(&Reduction::ALL)),
            AttrKind::DType | AttrKind::OptionalDType => Attr::DType(self.dice.pick(&DType::ALL)),
            AttrKind::Ints => Attr::Ints((0..self.dice.between(0, 2)).map(|_| int(&mut self.dice)).collect()),
            AttrKind::Dims => {
                let mut shape: Vec<Dim> = sizes.iter().rev().map(|size| Dim::from(*size)).collect();
                let open = self.dice.below(shape.len());
                match self.dice.below(3) {
                    0 => shape = vec![Dim::known(-1)],
                    1 if !shape.is_empty() => shape[open] = Dim::known(-1),
                    _ => {}
                }
                Attr::Dims(shape)
            }
            AttrKind::Name if decl.name == "approximate" => Attr::Name("tanh".into()),
            AttrKind::Name | AttrKind::Literal | AttrKind::Type | AttrKind::OptionalType | AttrKind::Body => {
                unreachable!("operations with names and literals are made elsewhere")
            }
        }
    }

    /// Saves and logs some values, the last ones surely.
    fn effects(&mut self) {
        let count = self.types.len();
        for at in 0..count {
            let id = NodeId::new(at);
            let leaves = match &self.types[at] {
                Type::Forward(_) | Type::Opaque => false,
                Type::Tuple(parts) => parts.iter().all(|part| part.as_tensor().is_some()),
                _ => true,
            };
            if !leaves || (at + 8 < count && !self.dice.once_in(4)) {
                continue;
            }
            let kind = match self.dice.below(6) {
                0 => EffectKind::Log { label: None },
                1 => EffectKind::Log { label: Some(format!("value {at}").into()) },
                _ => EffectKind::Save { name: format!("value {at}").into() },
            };
            self.graph.effects.push(Effect::new(kind, [id], Span::None));
        }
    }
}

/// Operations whose operands or attributes few values fit: they have a step of their own.
fn made_elsewhere(kind: OpKind) -> bool {
    use OpKind::*;
    let by_ids = matches!(kind, Gather | Embedding | IndexSelect | IndexBy | IndexPut | Scatter | ScatterAdd | OneHot);
    let masked = matches!(kind, NonZero | MaskedSelect);
    let creation = matches!(kind, Const | Full | Arange | Linspace | Eye | RandomUniform | RandomNormal | RandomInt);
    by_ids || masked || creation || matches!(kind, CrossEntropy | Einsum | List | Append | Join | Item | Length | Format)
}
