//! The walk: values of one graph, and the steps that add to them.

use std::collections::{BTreeMap, HashMap};

use super::{Config, Dice, fitting::is_made_here};
use crate::{
    attr::{Attr, AttrKind, Float, Literal, Reduction},
    diagnostic::Span,
    graph::{Graph, NodeId},
    infer::{Models, infer},
    model::ModelSpec,
    op::{Arity, AttrDecl, Op, OpKind, Scope},
    tensor::Tensor,
    types::{DType, Dim, ForwardType, Name, TensorType, Type, elements},
};

pub(super) struct Walk<'a> {
    pub(super) dice: Dice,
    pub(super) models: &'a Models,
    pub(super) config: &'a Config,
    /// The graph that grows: the program, or the body of a loop.
    pub(super) frame: Frame,
    /// The nodes that there are in all graphs.
    pub(super) count: usize,
    /// How many names were given: no two saves and no two symbols share one.
    serial: usize,
}

/// A graph that grows.
pub(super) struct Frame {
    pub(super) graph: Graph,
    pub(super) types: Vec<Type>,
    /// Values that are token ids for sure, below this number.
    pub(super) ids: Vec<(NodeId, usize)>,
    pub(super) forwards: Vec<NodeId>,
    /// The most that each symbol can stand for.
    pub(super) largest: BTreeMap<Name, i64>,
    /// In how many loops it is.
    pub(super) depth: usize,
    pub(super) effects: bool,
}

impl Frame {
    pub(super) fn new(graph: Graph, effects: bool) -> Frame {
        Frame { graph, types: vec![], ids: vec![], forwards: vec![], largest: BTreeMap::new(), depth: 0, effects }
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(dice: Dice, models: &'a Models, config: &'a Config, graph: Graph) -> Walk<'a> {
        Walk { dice, models, config, frame: Frame::new(graph, true), count: 0, serial: 0 }
    }

    pub(super) fn program(mut self) -> Graph {
        self.begin();
        let length = self.dice.between(self.config.nodes as i64 / 2, self.config.nodes as i64 * 6 / 5) as usize;
        // A step may find nothing that fits.
        for _ in 0..20 * length {
            if self.count < length {
                self.step();
            }
        }
        self.last_effects();
        self.frame.graph
    }

    /// Two or three forwards, with values of theirs.
    fn begin(&mut self) {
        self.literal();
        let length = self.dice.between(1, 6) as usize;
        for _ in 0..self.dice.between(2, 3) {
            if self.frame.ids.is_empty() || !self.dice.once_in(3) {
                let batch = 1 + usize::from(self.dice.once_in(4));
                self.tokens(batch, length);
            }
            self.forward();
        }
        for _ in 0..4 {
            self.read();
        }
    }

    pub(super) fn step(&mut self) {
        let config = self.config;
        match self.dice.below(36) {
            0 => drop(self.forward()),
            1..=4 => drop(self.read()),
            5..=7 if config.writes => self.write(),
            8..=9 => self.apply(),
            10 => drop(self.literal()),
            11..=14 => self.fitting(),
            23 => self.new_ids(),
            15 if config.extends => drop(self.extend()),
            16 => self.packed_forward(),
            17 if config.loops => self.pure_loop(),
            18..=19 if config.calls => self.pure_call(),
            20..=22 => self.effect(),
            _ => self.operation(),
        }
    }

    pub(super) fn name(&mut self, of: &str) -> Name {
        self.serial += 1;
        format!("{of}{}", self.serial).into()
    }

    pub(super) fn ty(&self, id: NodeId) -> &Type {
        &self.frame.types[id.index()]
    }

    pub(super) fn tensor_type(&self, id: NodeId) -> Option<&TensorType> {
        self.ty(id).as_tensor()
    }

    pub(super) fn forward_type(&self, id: NodeId) -> Option<&ForwardType> {
        if let Type::Forward(forward) = self.ty(id) { Some(forward) } else { None }
    }

    /// The most that a size can be.
    pub(super) fn most(&self, dim: &Dim) -> Option<i64> {
        dim.substitute(&|symbol| self.frame.largest.get(symbol).copied().map(Dim::known)).as_known()
    }

    fn is_small(&self, ty: &Type) -> bool {
        match ty {
            Type::Tensor(tensor) => self.most(&elements(&tensor.shape)).is_some_and(|count| count <= self.config.elements),
            Type::Tuple(parts) => parts.len() <= 4 && parts.iter().all(|part| self.is_small(part)),
            Type::List(part) => self.is_small(part),
            Type::Str | Type::Opaque | Type::Forward(_) => true,
        }
    }

    /// Adds a node if its operands fit and the result is not too large.
    pub(super) fn add(&mut self, op: Op, operands: &[NodeId]) -> Option<NodeId> {
        let types: Vec<&Type> = operands.iter().map(|operand| self.ty(*operand)).collect();
        let ty = infer(&op, &types, self.models).ok()?;
        self.is_small(&ty).then(|| self.place(op, operands, ty))
    }

    /// Adds a node of a known type.
    pub(super) fn place(&mut self, op: Op, operands: &[NodeId], ty: Type) -> NodeId {
        let id = self.frame.graph.add(op, operands.iter().copied(), Span::None);
        if self.dice.once_in(3) {
            let label = format!("{}_{}", self.dice.pick(&["h", "x", "a value"]), id.index());
            self.frame.graph.set_label(id, label);
        }
        self.frame.types.push(ty);
        self.count += 1;
        id
    }

    pub(super) fn constant(&mut self, tensor: &Tensor) -> NodeId {
        let literal = Literal::from(tensor);
        let ty = literal.ty();
        self.place(Op::Const { value: literal }, &[], ty)
    }

    /// A model, if there is one.
    fn model(&mut self) -> Option<(Name, &'a ModelSpec)> {
        let at = self.dice.below(self.models.len());
        self.models.iter().nth(at).map(|(name, spec)| (name.clone(), &**spec))
    }

    pub(super) fn spec_of(&self, forward: NodeId) -> Option<&'a ModelSpec> {
        self.models.get(&self.forward_type(forward)?.model).map(|spec| &**spec)
    }

    /// Token ids. Some prompts are equal, and many begin alike.
    pub(super) fn tokens(&mut self, batch: usize, length: usize) -> NodeId {
        let vocabulary = self.models.values().map(|spec| spec.vocabulary()).min().unwrap_or(1);
        let few = self.dice.pick(&[1, 2, 16]).min(vocabulary);
        let tokens = (0..batch * length).map(|_| self.dice.below(few) as i64).collect();
        let id = self.constant(&Tensor::new([batch, length], tokens));
        self.frame.ids.push((id, few));
        id
    }

    fn forward(&mut self) -> Option<NodeId> {
        let (model, spec) = self.model()?;
        let fits = |(id, below): &(NodeId, usize)| {
            let length = self.tensor_type(*id).and_then(|ty| self.most(ty.shape.get(1)?));
            *below <= spec.vocabulary() && length.is_some_and(|length| length <= spec.context() as i64)
        };
        let ids: Vec<NodeId> = self.frame.ids.iter().filter(|ids| fits(ids)).map(|(id, _)| *id).collect();
        let tokens = if ids.is_empty() { self.tokens(1, 2) } else { self.dice.pick(&ids) };
        let forward = self.add(Op::Forward { model }, &[tokens])?;
        self.frame.forwards.push(forward);
        Some(forward)
    }

    pub(super) fn any_forward(&mut self) -> Option<NodeId> {
        if self.frame.forwards.is_empty() { None } else { Some(self.dice.pick(&self.frame.forwards)) }
    }

    /// A hook; the last ones of layers more often, since they are what most programs are about.
    fn hook(&mut self, spec: &ModelSpec) -> Name {
        let hooks = spec.hooks();
        let residual: Vec<_> = hooks.iter().filter(|hook| hook.name.ends_with("put") && hook.name.matches('.').count() == 3).collect();
        if !residual.is_empty() && self.dice.once_in(2) {
            self.dice.pick(&residual).name.clone()
        } else {
            self.dice.pick(hooks).name.clone()
        }
    }

    pub(super) fn read(&mut self) -> Option<NodeId> {
        let forward = self.any_forward()?;
        let hook = self.hook(self.spec_of(forward)?);
        self.add(Op::Read { hook }, &[forward])
    }

    fn write(&mut self) {
        let Some(forward) = self.any_forward() else { return };
        let written = self.written(forward);
        self.frame.forwards.extend(written);
    }

    /// A forward with a value written that fits: one that is there, or one that is made of what is read.
    pub(super) fn written(&mut self, forward: NodeId) -> Option<NodeId> {
        let hook = self.hook(self.spec_of(forward)?);
        let op = Op::Write { hook: hook.clone() };
        for _ in 0..6 {
            let value = self.value()?;
            if self.is_float(value)
                && let Some(written) = self.add(op.clone(), &[forward, value])
            {
                return Some(written);
            }
        }
        let model = &self.forward_type(forward)?.model;
        let alike = |other: &&NodeId| self.forward_type(**other).is_some_and(|ty| ty.model == *model);
        let sources: Vec<NodeId> = self.frame.forwards.iter().filter(alike).copied().collect();
        let source = if sources.is_empty() { forward } else { self.dice.pick(&sources) };
        let old = self.add(Op::Read { hook }, &[source])?;
        let part = Op::Update { dim: self.dice.between(-3, -1), start: Some(self.dice.between(-2, 1)), end: None, step: 1 };
        let number = Tensor::scalar(self.dice.float());
        let number = self.constant(&number);
        // Token ids and positions that are written must stay what the embeddings have rows for.
        let new = match self.dice.below(3) {
            0 if self.is_float(old) => self.add(part, &[old, number]),
            1 if self.is_float(old) => self.add(Op::Mul {}, &[old, number]),
            _ => Some(old),
        };
        self.add(op, &[forward, new?])
    }

    /// A forward that goes on with a few tokens.
    fn extend(&mut self) -> Option<NodeId> {
        let forward = self.any_forward()?;
        let tokens = self.dice.between(1, 2) as usize;
        let extended = self.extended(forward, tokens)?;
        self.frame.forwards.push(extended);
        Some(extended)
    }

    /// A forward that goes on with this many tokens: constants, what it predicts, or ids that are there.
    pub(super) fn extended(&mut self, forward: NodeId, tokens: usize) -> Option<NodeId> {
        let spec = self.spec_of(forward)?;
        let ty = self.forward_type(forward)?.clone();
        let length = self.most(&ty.length())?;
        if !spec.causal() || length + tokens as i64 > spec.context() as i64 {
            return None;
        }
        let ids = match (tokens, ty.batch.as_usize()) {
            (1, _) if self.dice.once_in(2) => self.predicted(forward)?,
            (_, batch) => self.tokens(batch?, tokens),
        };
        // Constants lie in the smallest vocabulary.
        self.add(Op::Extend {}, &[forward, ids])
    }

    /// The token that a forward says comes next, for each of its sequences.
    pub(super) fn predicted(&mut self, forward: NodeId) -> Option<NodeId> {
        let vocabulary = self.spec_of(forward)?.vocabulary();
        let logits = self.logits(forward)?;
        let last = self.add(Op::Index { dim: 1, index: -1 }, &[logits])?;
        let next = self.add(Op::Argmax { dim: Some(-1), keepdim: true }, &[last])?;
        self.frame.ids.push((next, vocabulary));
        Some(next)
    }

    /// What a forward says of the next tokens, if there is a hook on it.
    fn logits(&mut self, forward: NodeId) -> Option<NodeId> {
        let spec = self.spec_of(forward)?;
        let hook = spec.hooks().iter().rev().find(|hook| {
            let ty = spec.node_type(hook.node).as_tensor();
            ty.is_some_and(|ty| ty.rank() == 3 && ty.dtype.is_float() && ty.shape[2].as_usize() == Some(spec.vocabulary()))
        })?;
        self.add(Op::Read { hook: hook.name.clone() }, &[forward])
    }

    /// A forward that goes through a tuple.
    fn packed_forward(&mut self) {
        let (Some(forward), Some(value)) = (self.any_forward(), self.value()) else { return };
        let Some(tuple) = self.add(Op::Tuple {}, &[value, forward]) else { return };
        let again = self.add(Op::Get { index: 1 }, &[tuple]);
        self.frame.forwards.extend(again);
    }

    fn apply(&mut self) {
        let Some((model, spec)) = self.model() else { return };
        let modules: Vec<_> = spec.modules().filter(|module| module.closed).collect();
        if modules.is_empty() {
            return;
        }
        for _ in 0..10 {
            let module = self.dice.pick(&modules);
            let op = Op::Apply { model: model.clone(), module: module.path.clone() };
            let value = if spec.hook_type(module.input).dtype.is_float() {
                self.value().filter(|value| self.is_float(*value))
            } else {
                let ids: Vec<NodeId> = self.frame.ids.iter().filter(|(_, below)| *below <= spec.vocabulary()).map(|(id, _)| *id).collect();
                // A module that takes positions has no more rows than the context.
                (!ids.is_empty() && spec.context() >= spec.vocabulary()).then(|| self.dice.pick(&ids))
            };
            let Some(value) = value else { continue };
            if self.sizes_of(value).is_some() && self.add(op, &[value]).is_some() {
                return;
            }
        }
    }

    /// A small tensor, or sometimes a text.
    pub(super) fn literal(&mut self) -> NodeId {
        if self.dice.once_in(8) {
            let text = Literal::Str(self.dice.pick(&["", "a text", "\"quoted\" \\ é"]).into());
            return self.place(Op::Const { value: text }, &[], Type::Str);
        }
        let hidden = self.model().and_then(|(_, spec)| {
            let hook = self.dice.pick(spec.hooks()).node;
            spec.node_type(hook).as_tensor()?.shape.last()?.as_usize()
        });
        let shapes = [vec![], vec![], vec![1], vec![3], vec![hidden.unwrap_or(4)], vec![2, 3], vec![2, 1, 4], vec![0, 2], vec![3, 3]];
        let shape = self.dice.pick(&shapes);
        let count: usize = shape.iter().product();
        let tensor = match self.dice.below(4) {
            0 => Tensor::new(shape, (0..count).map(|_| self.dice.between(-4, 9)).collect::<Vec<i64>>()),
            1 => Tensor::new(shape, (0..count).map(|_| self.dice.once_in(2)).collect::<Vec<bool>>()),
            _ => Tensor::new(shape, (0..count).map(|_| self.dice.float()).collect::<Vec<f32>>()),
        };
        self.constant(&tensor)
    }

    /// Any value that is no forward; the later ones more often.
    pub(super) fn value(&mut self) -> Option<NodeId> {
        let values: Vec<usize> = (0..self.frame.types.len()).filter(|at| !matches!(self.frame.types[*at], Type::Forward(_))).collect();
        let at = self.dice.below(values.len()).max(self.dice.below(values.len()));
        values.get(at).map(|at| NodeId::new(*at))
    }

    pub(super) fn is_float(&self, id: NodeId) -> bool {
        self.tensor_type(id).is_some_and(|ty| ty.dtype.is_float())
    }

    /// The sizes of a tensor with dimensions, if all are known and none is 0.
    pub(super) fn sizes_of(&self, id: NodeId) -> Option<Vec<usize>> {
        let ty = self.tensor_type(id)?;
        let sizes: Vec<usize> = ty.shape.iter().map(Dim::as_usize).collect::<Option<_>>()?;
        (!sizes.is_empty() && !sizes.contains(&0)).then_some(sizes)
    }

    /// The prediction of a forward as the tokens of the next.
    fn new_ids(&mut self) {
        let Some(forward) = self.any_forward() else { return };
        let (Some(spec), Some(logits)) = (self.spec_of(forward), self.logits(forward)) else { return };
        let ids = self.add(Op::Argmax { dim: Some(-1), keepdim: false }, &[logits]);
        self.frame.ids.extend(ids.map(|ids| (ids, spec.vocabulary())));
    }

    /// Any operation of the table on any values.
    fn operation(&mut self) {
        let kinds = OpKind::ALL.iter().copied().filter(|kind| kind.scope() == Scope::Anywhere);
        let kinds: Vec<OpKind> = kinds.filter(|kind| !is_made_here(*kind)).collect();
        let kind = self.dice.pick(&kinds);
        for _ in 0..20 {
            let count = match kind.arity() {
                Arity::Exactly(count) => count,
                Arity::AtLeast(least) => least + self.dice.below(3),
                Arity::Between(least, most) => least + self.dice.below(most - least + 1),
            };
            let Some(mut operands) = (0..count).map(|_| self.value()).collect::<Option<Vec<NodeId>>>() else { return };
            // Operands that are alike fit more often.
            if count > 1 && self.dice.once_in(3) {
                operands[1] = operands[0];
            }
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
                    let Some(attr) = self.attribute(decl, &sizes) else { return };
                    attrs.insert(decl.name, attr);
                }
            }
            let Ok(op) = Op::build(kind, &mut |name| attrs.remove(name)) else { return };
            // Of floats that are large or no numbers, integers are the platform's; and by 0 they are not divided.
            let to_integers = matches!(op, Op::Cast { dtype: DType::I64 | DType::I32 | DType::U8 });
            let by_zero =
                matches!(kind, OpKind::FloorDiv | OpKind::Remainder | OpKind::Fmod) && !operands.iter().any(|id| self.is_float(*id));
            if !to_integers
                && !by_zero
                && let Some(id) = self.add(op, &operands)
            {
                if let Type::Tuple(parts) = self.ty(id) {
                    let index = parts.len();
                    let index = self.dice.below(index) as i64;
                    self.add(Op::Get { index }, &[id]);
                }
                return;
            }
        }
    }

    /// A value for an attribute, which may fit an operand of these sizes.
    fn attribute(&mut self, decl: &AttrDecl, sizes: &[usize]) -> Option<Attr> {
        let rank = sizes.len() as i64;
        let int = |dice: &mut Dice| match decl.name {
            "k" | "step" | "window" => dice.between(1, 3),
            name if name.starts_with("dim") => dice.between(-rank, rank.max(1) - 1),
            _ => dice.between(-3, 3),
        };
        Some(match decl.kind {
            AttrKind::Int | AttrKind::OptionalInt => Attr::Int(int(&mut self.dice)),
            AttrKind::Bool => Attr::Bool(self.dice.once_in(2)),
            AttrKind::Float | AttrKind::OptionalFloat => Attr::Float(Float::new(match decl.name {
                "p" => self.dice.pick(&[0.0, 1.0, 2.0, 3.0, f64::INFINITY, f64::NEG_INFINITY]),
                "min" | "max" | "slope" | "alpha" | "beta" => f64::from(self.dice.float()),
                _ => self.dice.pick(&[1e-5, 10_000.0]),
            })),
            AttrKind::Reduction => Attr::Reduction(self.dice.pick(&Reduction::ALL)),
            AttrKind::Name => Attr::Name(self.dice.pick(&["tanh", "none", "a name"]).into()),
            AttrKind::DType | AttrKind::OptionalDType => Attr::DType(self.dice.pick(&DType::ALL)),
            AttrKind::Type | AttrKind::OptionalType => Attr::Type(self.value().map(|value| self.ty(value).clone())?),
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
            AttrKind::Literal => {
                let shape: Vec<usize> = sizes.iter().take(2).map(|size| 1 + size % 3).collect();
                let values = (0..shape.iter().product()).map(|_| self.dice.float()).collect();
                Attr::Literal((&Tensor::new(shape, values)).into())
            }
            // Loops are made elsewhere.
            AttrKind::Body => return None,
        })
    }
}
