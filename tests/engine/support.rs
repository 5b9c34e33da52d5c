//! Small models with deterministic random weights, programs written node by node, and how their results are compared.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use irc::{
    backends::{
        Backend, Handle, Handles, Outcome, conformance, execute::Driven, host::Host, reference::Reference, rten::Rten, weights::Weights,
    },
    ir::{
        diagnostic::{Diagnostic, Span},
        eval::Value,
        graph::{EffectKind, Graph, ModelDecl, NodeId},
        infer::{Models, infer},
        model::ModelSpec,
        op::Op,
        tensor::Tensor,
        types::{DType, Type},
        verify::{Verified, verify},
    },
    models::llama::LlamaConfig,
};

/// Numbers that look random and are the same each time (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Between -1 and 1.
    pub fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    pub fn floats(&mut self, shape: &[usize]) -> Tensor {
        Tensor::new(shape, (0..shape.iter().product()).map(|_| self.float()).collect::<Vec<f32>>())
    }

    pub fn ids(&mut self, batch: usize, length: usize) -> Tensor {
        Tensor::new([batch, length], (0..batch * length).map(|_| self.below(VOCABULARY) as i64).collect::<Vec<_>>())
    }
}

pub const VOCABULARY: usize = 50;

/// Weights such that every hook matters: norms near one, matrices that keep the size of what they multiply.
pub fn weights(spec: &ModelSpec, seed: u64) -> BTreeMap<Arc<str>, Tensor> {
    let mut random = Random(seed);
    let weight = |decl: &irc::ir::model::WeightDecl| {
        let shape: Vec<usize> = decl.ty.shape.iter().filter_map(|dim| dim.as_usize()).collect();
        let (offset, scale) = if shape.len() == 1 { (1.0, 0.3) } else { (0.0, 2.0 / (shape[0] as f32).sqrt()) };
        let scale = if decl.name.contains("embed") { 1.0 } else { scale };
        let values = (0..shape.iter().product()).map(|_| offset + scale * random.float()).collect::<Vec<f32>>();
        (decl.name.clone(), Tensor::new(shape, values))
    };
    spec.weights().iter().map(weight).collect()
}

fn handle(spec: ModelSpec, seed: u64) -> Handle {
    let weights = Weights::from_tensors(weights(&spec, seed));
    Handle { spec: Arc::new(spec), weights }
}

pub fn config() -> LlamaConfig {
    let config = serde_json::json!({
        "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
    });
    LlamaConfig::read(config.as_object().expect("an object")).expect("the configuration is right")
}

/// A Llama of three layers.
pub fn llama() -> &'static Handle {
    static MODEL: OnceLock<Handle> = OnceLock::new();
    MODEL.get_or_init(|| handle(config().spec().expect("the configuration is right"), 1))
}

/// A model with what Llamas lack.
pub fn odd() -> &'static Handle {
    conformance::odd()
}

/// The engine under test, on two threads.
pub fn engine() -> &'static Driven {
    static ENGINE: OnceLock<Driven> = OnceLock::new();
    ENGINE.get_or_init(|| Driven::new(Rten::new(Some(2))))
}

/// A program on the models `m` and, where there is one, `n`.
#[derive(Clone)]
pub struct Program {
    pub graph: Graph,
    pub handles: Handles,
    types: Vec<Type>,
}

impl Program {
    pub fn new(model: &Handle) -> Program {
        Program { graph: Graph::new("test"), handles: Handles::new(), types: vec![] }.with("m", model)
    }

    pub fn with(mut self, name: &str, model: &Handle) -> Program {
        self.graph.models.push(ModelDecl { name: name.into(), reference: name.into(), span: Span::None });
        self.handles.insert(name.into(), model.clone());
        self
    }

    fn models(&self) -> Models {
        self.handles.iter().map(|(name, handle)| (name.clone(), handle.spec.clone())).collect()
    }

    /// Each node's place is its number, so that tests can ask where an error points.
    pub fn op(&mut self, op: Op, operands: impl IntoIterator<Item = NodeId>) -> NodeId {
        let operands: Vec<NodeId> = operands.into_iter().collect();
        let types: Vec<&Type> = operands.iter().map(|id| &self.types[id.index()]).collect();
        let ty = infer(&op, &types, &self.models()).unwrap_or_else(|error| panic!("{op:?} of {types:?}: {error:?}"));
        self.types.push(ty);
        let at = self.graph.len();
        self.graph.add(op, operands, Span::text(at, at + 1))
    }

    pub fn shape(&self, id: NodeId) -> Vec<usize> {
        let ty = self.types[id.index()].as_tensor().expect("a tensor");
        ty.shape.iter().filter_map(|dim| dim.as_usize()).collect()
    }

    pub fn dtype(&self, id: NodeId) -> DType {
        self.types[id.index()].as_tensor().expect("a tensor").dtype
    }

    pub fn constant(&mut self, tensor: &Tensor) -> NodeId {
        self.op(Op::Const { value: tensor.into() }, [])
    }

    pub fn number(&mut self, value: f32) -> NodeId {
        self.constant(&Tensor::scalar(value))
    }

    pub fn forward(&mut self, ids: &Tensor) -> NodeId {
        let tokens = self.constant(ids);
        self.forward_on("m", tokens)
    }

    pub fn forward_on(&mut self, model: &str, tokens: NodeId) -> NodeId {
        self.op(Op::Forward { model: model.into() }, [tokens])
    }

    pub fn read(&mut self, forward: NodeId, hook: &str) -> NodeId {
        self.op(Op::Read { hook: hook.into() }, [forward])
    }

    pub fn write(&mut self, forward: NodeId, hook: &str, value: NodeId) -> NodeId {
        self.op(Op::Write { hook: hook.into() }, [forward, value])
    }

    pub fn apply(&mut self, module: &str, value: NodeId) -> NodeId {
        self.op(Op::Apply { model: "m".into(), module: module.into() }, [value])
    }

    pub fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.op(Op::Add {}, [a, b])
    }

    pub fn mul(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.op(Op::Mul {}, [a, b])
    }

    /// Half the value and a bit, or for token ids the next ones.
    pub fn changed(&mut self, value: NodeId) -> NodeId {
        if self.dtype(value) == DType::I64 {
            let (one, last) = (self.constant(&Tensor::scalar(1i64)), self.constant(&Tensor::scalar(VOCABULARY as i64 - 1)));
            let next = self.add(value, one);
            return self.op(Op::Minimum {}, [next, last]);
        }
        let (half, bit) = (self.number(0.5), self.number(0.125));
        let scaled = self.mul(value, half);
        self.add(scaled, bit)
    }

    /// A constant of a value's type.
    pub fn like(&mut self, value: NodeId, random: &mut Random) -> NodeId {
        let shape = self.shape(value);
        let tensor = match self.dtype(value) {
            DType::I64 => random.ids(1, shape.iter().product()).reshaped(&shape),
            _ => random.floats(&shape),
        };
        self.constant(&tensor)
    }

    pub fn save(&mut self, name: impl AsRef<str>, value: NodeId) {
        let kind = EffectKind::Save { name: name.as_ref().into() };
        self.graph.effects.push(irc::ir::graph::Effect::new(kind, [value], Span::None));
    }

    /// Saves every hook of a forward as `PREFIX HOOK`.
    pub fn save_all(&mut self, forward: NodeId, prefix: &str) {
        let Type::Forward(ty) = &self.types[forward.index()] else { panic!("not a forward") };
        for hook in names(&self.handles[&ty.model].clone()) {
            let value = self.read(forward, &hook);
            self.save(format!("{prefix}{hook}"), value);
        }
    }

    pub fn verified(&self) -> Verified {
        verify(self.graph.clone(), &self.models()).unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    pub fn try_run(&self, backend: &dyn Backend) -> Result<Outcome, Diagnostic> {
        backend.run(&self.verified(), &self.handles, &mut |_| {})
    }

    pub fn try_run_for(&self, backend: &dyn Backend, host: &mut dyn Host) -> Result<Outcome, Diagnostic> {
        backend.run_for(&self.verified(), &self.handles, host)
    }

    pub fn run(&self) -> Outcome {
        self.try_run(engine()).unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// Runs the program on the engine and on the reference, and compares all that is saved.
    pub fn check(&self, what: &str) -> Outcome {
        let verified = self.verified();
        let run = |backend: &dyn Backend| {
            backend.run(&verified, &self.handles, &mut |_| {}).unwrap_or_else(|error| panic!("{what} on {}: {error:?}", backend.name()))
        };
        let (got, want) = (run(engine()), run(&Reference));
        assert_eq!(got.saves.len(), want.saves.len(), "{what}");
        for ((name, got), (other, want)) in got.saves.iter().zip(&want.saves) {
            assert_eq!(name, other, "{what}");
            close(&format!("{what}: {name}"), got, want);
        }
        got
    }
}

pub fn names(model: &Handle) -> Vec<String> {
    model.spec.hooks().iter().map(|hook| hook.name.to_string()).collect()
}

/// Whether two values agree: integers exactly, rows of floats to 1e-4 of their length.
pub fn close(what: &str, got: &Value, want: &Value) {
    let (Value::Tensor(got), Value::Tensor(want)) = (got, want) else {
        assert_eq!(got, want, "{what}");
        return;
    };
    assert_eq!(got.ty(), want.ty(), "{what}");
    let (Some(a), Some(b)) = (got.values::<f32>(), want.values::<f32>()) else {
        assert_eq!(got, want, "{what}");
        return;
    };
    let width = got.shape().last().copied().unwrap_or(1).max(1);
    for (row, (a, b)) in a.chunks(width).zip(b.chunks(width)).enumerate() {
        let norm = |row: &mut dyn Iterator<Item = f32>| row.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let finite = |(a, b): (&f32, &f32)| if a == b || a.is_nan() && b.is_nan() { 0.0 } else { a - b };
        let distance = norm(&mut a.iter().zip(b).map(finite));
        let scale = norm(&mut b.iter().copied().filter(|x| x.is_finite()));
        assert!(distance <= 1e-4 * scale + 1e-6, "{what}, row {row}: {distance:e} off\n{a:?}\n{b:?}");
    }
}

/// Whether all that one program saved has the same bits in another one.
pub fn same_bits(what: &str, some: &Outcome, all: &Outcome) {
    for (name, value) in &some.saves {
        let other = all.get(name).unwrap_or_else(|| panic!("{what}: {name} is saved in both"));
        assert!(value.same_bits(other), "{what}: {name} differs: {value:?} and {other:?}");
    }
}

pub fn tensor<'a>(outcome: &'a Outcome, name: &str) -> &'a Tensor {
    outcome.get(name).and_then(Value::as_tensor).unwrap_or_else(|| panic!("{name} is saved"))
}
