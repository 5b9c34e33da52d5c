//! Building a model's graph, module by module, in the words of its architecture.

use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::{
    attr::Float,
    diagnostic::Span,
    infer::{Models, infer},
};

/// Rotary position embedding of an attention.
#[derive(Clone, PartialEq, Debug)]
pub struct RotaryShape {
    /// By how much each pair of elements of a head turns from one position to the next. Twice as many elements turn.
    pub inverse_frequencies: Arc<[f32]>,
    /// What cosines and sines are multiplied by, usually 1.
    pub scale: f32,
}

impl RotaryShape {
    /// The usual inverse frequencies for `rotated` elements of each head, 1 / base^(2i / rotated): computed in f64 from what
    /// PyTorch has in f32, and rounded.
    pub fn new(base: f64, rotated: usize) -> RotaryShape {
        let power = |pair: usize| f64::from(base as f32).powf(f64::from((2 * pair) as f32 / rotated as f32)) as f32;
        RotaryShape { inverse_frequencies: (0..rotated / 2).map(|pair| 1.0 / power(pair)).collect(), scale: 1.0 }
    }
}

/// The numbers that describe an attention.
#[derive(Clone, PartialEq, Debug)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; a divisor of `heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_size: usize,
    /// What scores are multiplied by, usually 1/sqrt(head_size).
    pub scale: f32,
    /// Rotary position embedding of queries and keys.
    pub rotary: Option<RotaryShape>,
    /// Whether positions see only themselves and earlier ones.
    pub causal: bool,
    /// How many positions each sees at most, itself included.
    pub window: Option<usize>,
}

/// Builds a [`ModelSpec`]. The first mistake is kept and returned by [`ModelBuilder::finish`].
pub struct ModelBuilder {
    architecture: Name,
    dtype: DType,
    vocabulary: usize,
    context: usize,
    graph: Graph,
    types: Vec<Type>,
    hooks: Vec<(Name, NodeId)>,
    modules: Vec<(Name, NodeId, NodeId)>,
    weights: Vec<WeightDecl>,
    weight_nodes: BTreeMap<Name, NodeId>,
    frequencies: Vec<(Arc<[f32]>, NodeId)>,
    /// The path of the module that is being built.
    path: Vec<String>,
    /// Where stages begin, with their names; attention stages carry what they are.
    cuts: Vec<(usize, Name, Option<AttentionParts>)>,
    positions: NodeId,
    tokens: NodeId,
    error: Option<Diagnostic>,
}

/// The nodes of an attention, from which [`Attention`] is made once hooks are numbered.
#[derive(Clone)]
struct AttentionParts {
    shape: AttentionShape,
    inputs: [NodeId; 3],
    hooks: [NodeId; 6],
}

impl ModelBuilder {
    /// A model without nodes: `dtype` is that of weights and activations, `vocabulary` the number of token ids, `context`
    /// the longest sequence.
    pub fn new(architecture: &str, dtype: DType, vocabulary: usize, context: usize) -> ModelBuilder {
        let mut builder = ModelBuilder {
            architecture: architecture.into(),
            dtype,
            vocabulary,
            context,
            graph: Graph::new(architecture),
            types: vec![],
            hooks: vec![],
            modules: vec![],
            weights: vec![],
            weight_nodes: BTreeMap::new(),
            frequencies: vec![],
            path: vec![],
            cuts: vec![(0, "embedding".into(), None)],
            positions: NodeId::new(0),
            tokens: NodeId::new(0),
            error: None,
        };
        let shape = vec![Dim::symbol("B"), Dim::symbol("T")];
        builder.tokens = builder.node(Op::Input { name: "tokens".into(), dtype: DType::I64, shape: shape.clone() }, []);
        builder.positions = builder.node(Op::Input { name: "positions".into(), dtype: DType::I64, shape }, []);
        builder
    }

    /// The token ids, i64 [B, T].
    pub fn tokens(&self) -> NodeId {
        self.tokens
    }

    /// The position of each token in its sequence, i64 [B, T].
    pub fn positions(&self) -> NodeId {
        self.positions
    }

    /// Any operation.
    pub fn node(&mut self, op: Op, operands: impl IntoIterator<Item = NodeId>) -> NodeId {
        let operands: Vec<NodeId> = operands.into_iter().collect();
        let types: Vec<&Type> = operands.iter().map(|id| &self.types[id.index()]).collect();
        let ty = infer(&op, &types, &Models::new()).unwrap_or_else(|error| {
            self.error.get_or_insert(error.note(format!("while building `{}`", self.path.join("."))));
            Type::tensor(self.dtype, [])
        });
        self.types.push(ty);
        self.graph.add(op, operands, Span::None)
    }

    /// A module: `body` builds its output from its input, and both become hooks, `PATH.input` and `PATH.output`.
    pub fn module(&mut self, name: &str, input: NodeId, body: impl FnOnce(&mut ModelBuilder, NodeId) -> NodeId) -> NodeId {
        self.path.push(name.to_owned());
        let input = self.hook("input", input);
        let result = body(self, input);
        let output = self.hook("output", result);
        self.modules.push((self.path.join(".").into(), input, output));
        self.path.pop();
        output
    }

    /// A hook of the module that is being built.
    pub fn hook(&mut self, leaf: &str, value: NodeId) -> NodeId {
        let name: Name = self.qualified(leaf);
        let node = self.node(Op::Hook { name: name.clone() }, [value]);
        self.hooks.push((name, node));
        node
    }

    fn qualified(&self, leaf: &str) -> Name {
        if self.path.is_empty() { leaf.into() } else { format!("{}.{leaf}", self.path.join(".")).into() }
    }

    /// A weight of the module that is being built.
    pub fn weight(&mut self, leaf: &str, shape: &[usize]) -> NodeId {
        let name = self.qualified(leaf);
        if let Some(&node) = self.weight_nodes.get(&name) {
            return node;
        }
        let dims: Vec<Dim> = shape.iter().map(|&size| Dim::from(size)).collect();
        self.weights.push(WeightDecl { name: name.clone(), ty: TensorType::new(self.dtype, dims.iter().cloned()), copy_of: None });
        let node = self.node(Op::Weight { name: name.clone(), dtype: self.dtype, shape: dims }, []);
        self.weight_nodes.insert(name, node);
        node
    }

    /// Says that a weight has the numbers of another one, in another layout.
    pub fn tie(&mut self, copy: &str, original: &str) {
        if let Some(weight) = self.weights.iter_mut().find(|weight| &*weight.name == copy) {
            weight.copy_of = Some(original.into());
        }
    }

    /// `x` times the module's weight, which is stored as `[from, to]` under the name with `.T`.
    pub fn linear(&mut self, leaf: &str, x: NodeId, from: usize, to: usize) -> NodeId {
        let weight = self.weight(&format!("{leaf}.T"), &[from, to]);
        self.node(Op::Matmul {}, [x, weight])
    }

    /// A module that is a linear map without bias.
    pub fn projection(&mut self, name: &str, x: NodeId, from: usize, to: usize) -> NodeId {
        self.projection_with(name, x, from, to, false)
    }

    /// `x` plus the module's weight of its last dimension.
    pub fn bias(&mut self, leaf: &str, x: NodeId, size: usize) -> NodeId {
        let bias = self.weight(leaf, &[size]);
        self.add(x, bias)
    }

    /// A module that is a linear map, `bias` or not.
    pub fn projection_with(&mut self, name: &str, x: NodeId, from: usize, to: usize, bias: bool) -> NodeId {
        self.module(name, x, |m, x| {
            let x = m.linear("weight", x, from, to);
            if bias { m.bias("bias", x, to) } else { x }
        })
    }

    /// Rows of the module's weight `[rows, size]` picked by ids.
    pub fn embedding(&mut self, leaf: &str, ids: NodeId, rows: usize, size: usize) -> NodeId {
        let weight = self.weight(leaf, &[rows, size]);
        self.node(Op::Embedding {}, [weight, ids])
    }

    /// A module that is an RMS norm over `size` elements.
    pub fn rms_norm(&mut self, name: &str, x: NodeId, size: usize, eps: f64) -> NodeId {
        self.module(name, x, |m, x| {
            let weight = m.weight("weight", &[size]);
            m.node(Op::RmsNorm { eps: Float::new(eps) }, [x, weight])
        })
    }

    /// A module that is a layer norm over `size` elements, with weight and bias.
    pub fn layer_norm(&mut self, name: &str, x: NodeId, size: usize, eps: f64) -> NodeId {
        self.module(name, x, |m, x| {
            let (weight, bias) = (m.weight("weight", &[size]), m.weight("bias", &[size]));
            m.node(Op::LayerNorm { eps: Float::new(eps) }, [x, weight, bias])
        })
    }

    /// A module that computes nothing, such as a dropout.
    pub fn identity(&mut self, name: &str, x: NodeId) -> NodeId {
        self.module(name, x, |_, x| x)
    }

    /// The sum of two values.
    pub fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.node(Op::Add {}, [a, b])
    }

    /// The product of two values.
    pub fn mul(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.node(Op::Mul {}, [a, b])
    }

    /// Begins a stage here: only few values should be alive at this point. `name` is for people.
    pub fn stage(&mut self, name: &str) {
        self.cuts.push((self.graph.len(), name.into(), None));
    }

    /// [B, T, heads * size] as [B, T, heads, size].
    pub fn split_heads(&mut self, x: NodeId, heads: usize, size: usize) -> NodeId {
        let shape = vec![Dim::symbol("B"), Dim::symbol("T"), heads.into(), size.into()];
        self.node(Op::Reshape { shape }, [x])
    }

    /// Attention of `q`, `k`, `v` (before rotary, [B, T, heads * size] or [B, T, heads, size]) as a stage of its own, with the hooks `q`, `k`, `v`,
    /// `scores`, `pattern` and `z` of the module that is being built. Returns z as [B, T, heads * size], in the
    /// position-wise stage that begins after it.
    pub fn attention(&mut self, name: &str, shape: AttentionShape, q: NodeId, k: NodeId, v: NodeId) -> NodeId {
        let AttentionShape { heads, kv_heads, head_size, .. } = shape;
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            let error = Diagnostic::error(Code::E1008, format!("{heads} heads cannot share {kv_heads} key and value heads"));
            self.error.get_or_insert(error);
            return q;
        }
        let begin = self.graph.len();
        let (b, t) = (Dim::symbol("B"), Dim::symbol("T"));
        let dims = |sizes: &[usize]| [b.clone(), t.clone()].into_iter().chain(sizes.iter().map(|&size| size.into())).collect::<Vec<Dim>>();
        let swap = |m: &mut ModelBuilder, x, dim0, dim1| m.node(Op::Transpose { dim0, dim1 }, [x]);
        let inputs = [q, k, v];
        let frequencies = shape.rotary.as_ref().map(|rotary| self.frequencies(&rotary.inverse_frequencies));

        let per_head = |m: &mut ModelBuilder, x, count: usize, turn: bool, leaf: &str| {
            let x = m.node(Op::Reshape { shape: dims(&[count, head_size]) }, [x]);
            let x = match (&shape.rotary, frequencies) {
                (Some(rotary), Some(frequencies)) if turn => {
                    m.node(Op::Rotary { scale: Float::new(f64::from(rotary.scale)) }, [x, m.positions, frequencies])
                }
                _ => x,
            };
            m.hook(leaf, x)
        };
        let q = per_head(self, q, heads, true, "q");
        let k = per_head(self, k, kv_heads, true, "k");
        let v = per_head(self, v, kv_heads, false, "v");

        // Query heads that share keys and values become one more dimension: [B, kv_heads, group, T, size].
        let group = heads / kv_heads;
        let grouped = |m: &mut ModelBuilder, x, group: usize| {
            let x = m.node(Op::Reshape { shape: dims(&[kv_heads, group, head_size]) }, [x]);
            let x = swap(m, x, 1, 2);
            swap(m, x, 2, 3)
        };
        let (queries, keys, values) = (grouped(self, q, group), grouped(self, k, 1), grouped(self, v, 1));
        let keys = swap(self, keys, 3, 4);
        let scores = self.node(Op::Matmul {}, [queries, keys]);
        let scale = crate::tensor::Tensor::scalar(shape.scale);
        let scale = self.node(Op::Const { value: (&scale).into() }, []);
        let scores = self.mul(scores, scale);
        let square = vec![b.clone(), heads.into(), t.clone(), t.clone()];
        let scores = self.node(Op::Reshape { shape: square }, [scores]);
        let scores = self.hook("scores", scores);
        let masked = match shape.causal {
            true => self.node(Op::CausalMask { window: shape.window.map(|window| window as i64) }, [scores]),
            false => scores,
        };
        let pattern = self.node(Op::Softmax { dim: -1 }, [masked]);
        let pattern = self.hook("pattern", pattern);
        let square = vec![b.clone(), kv_heads.into(), group.into(), t.clone(), t.clone()];
        let weights = self.node(Op::Reshape { shape: square }, [pattern]);
        let z = self.node(Op::Matmul {}, [weights, values]);
        let z = swap(self, z, 2, 3);
        let z = swap(self, z, 1, 2);
        let z = self.node(Op::Reshape { shape: dims(&[heads, head_size]) }, [z]);
        let z = self.hook("z", z);

        let parts = AttentionParts { shape, inputs, hooks: [q, k, v, scores, pattern, z] };
        self.cuts.push((begin, format!("{name} attention").into(), Some(parts)));
        self.stage(&format!("{name} after attention"));
        self.node(Op::Reshape { shape: dims(&[heads * head_size]) }, [z])
    }

    /// The constant with these numbers, which layers share.
    fn frequencies(&mut self, values: &Arc<[f32]>) -> NodeId {
        if let Some((_, node)) = self.frequencies.iter().find(|(known, _)| known == values) {
            return *node;
        }
        let tensor = crate::tensor::Tensor::new([values.len()], values.to_vec());
        let node = self.node(Op::Const { value: (&tensor).into() }, []);
        self.frequencies.push((values.clone(), node));
        node
    }

    /// The finished model; `output` is what it returns, the logits.
    ///
    /// # Errors
    /// The first mistake that was made while building: shapes that do not fit, a name used twice.
    pub fn finish(self, output: NodeId) -> Result<ModelSpec, Diagnostic> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let hook_ids: HashMap<Name, HookId> =
            self.hooks.iter().enumerate().map(|(at, (name, _))| (name.clone(), HookId(at as u32))).collect();
        if hook_ids.len() != self.hooks.len() {
            let twice = self.hooks.iter().enumerate().find(|(at, (name, _))| hook_ids[name].index() != *at);
            return Err(Diagnostic::error(Code::E0003, format!("the model has two hooks `{}`", twice.map_or("", |(_, (name, _))| name))));
        }
        let id_at = |node: NodeId| HookId(self.hooks.binary_search_by_key(&node, |(_, node)| *node).unwrap_or(0) as u32);

        let mut cuts = self.cuts;
        cuts.retain(|(begin, _, _)| *begin < self.graph.len());
        let ends: Vec<usize> = cuts.iter().skip(1).map(|(begin, _, _)| *begin).chain([self.graph.len()]).collect();
        let mut stages: Vec<Stage> = cuts
            .into_iter()
            .zip(ends)
            .filter(|((begin, _, _), end)| begin < end)
            .map(|((begin, name, parts), end)| {
                let kind = parts.map_or(StageKind::Positionwise, |parts| {
                    let [q, k, v, scores, pattern, z] = parts.hooks.map(id_at);
                    StageKind::Attention(Attention { shape: parts.shape, inputs: parts.inputs, q, k, v, scores, pattern, z })
                });
                Stage { name, kind, nodes: begin..end, inputs: vec![], outputs: vec![] }
            })
            .collect();
        connect(&self.graph, &mut stages, output);

        let stage_of = |node: NodeId| stages.partition_point(|stage| stage.nodes.end <= node.index());
        let hooks: Vec<Hook> =
            self.hooks.iter().map(|(name, node)| Hook { name: name.clone(), node: *node, stage: stage_of(*node) }).collect();
        let reached_from = reachability(&self.graph, &hooks);
        let mut seen = vec![usize::MAX; self.graph.len()];
        let modules = self
            .modules
            .iter()
            .enumerate()
            .map(|(at, (path, input, output))| {
                let mut first_visit = |node: NodeId| std::mem::replace(&mut seen[node.index()], at) != at;
                let (closed, positionwise) = inspect(&self.graph, &stages, self.tokens, *input, *output, &mut first_visit);
                let module = Module { path: path.clone(), input: id_at(*input), output: id_at(*output), closed, positionwise };
                (path.clone(), module)
            })
            .collect();
        let sources = sources(&self.graph);
        let causal = stages.iter().all(|stage| match &stage.kind {
            StageKind::Positionwise => true,
            StageKind::Attention(attention) => attention.shape.causal,
        });
        Ok(ModelSpec {
            architecture: self.architecture,
            dtype: self.dtype,
            vocabulary: self.vocabulary,
            context: self.context,
            graph: self.graph,
            types: self.types,
            hooks,
            hook_ids,
            modules,
            stages,
            causal,
            weights: self.weights,
            output,
            sources,
            reached_from,
        })
    }
}

/// Whether a node is the same for every forward: weights, constants and inputs need no computing and cross no stage.
fn is_leaf(op: &Op) -> bool {
    matches!(op, Op::Weight { .. } | Op::Const { .. } | Op::Input { .. })
}

/// Fills in what stages take from each other.
fn connect(graph: &Graph, stages: &mut [Stage], output: NodeId) {
    let ends: Vec<usize> = stages.iter().map(|stage| stage.nodes.end).collect();
    let stage_of = |node: NodeId| ends.partition_point(|&end| end <= node.index());
    for (id, node) in graph.nodes() {
        let user = stage_of(id);
        for &operand in node.operands.iter().filter(|operand| !is_leaf(&graph.node(**operand).op)) {
            let maker = stage_of(operand);
            if maker != user {
                if !stages[user].inputs.contains(&operand) {
                    stages[user].inputs.push(operand);
                }
                if !stages[maker].outputs.contains(&operand) {
                    stages[maker].outputs.push(operand);
                }
            }
        }
    }
    stages[stage_of(output)].outputs.push(output);
}

/// For each node, the node whose value it has. A hook is a value of its own where it and another operand of one operation
/// would otherwise have the same source: they can be written apart, and an engine could not tell them apart.
fn sources(graph: &Graph) -> Vec<NodeId> {
    let mut own = vec![false; graph.len()];
    let mut sources: Vec<NodeId> = Vec::with_capacity(graph.len());
    while sources.len() < graph.len() {
        let id = NodeId::new(sources.len());
        let node = graph.node(id);
        let is_hook = |id: NodeId| matches!(graph.node(id).op, Op::Hook { .. });
        let clash = node.operands.iter().enumerate().find_map(|(at, &operand)| {
            let same = |other: &&NodeId| **other != operand && sources[other.index()] == sources[operand.index()];
            let other = node.operands[..at].iter().find(same)?;
            // One of them has not its own value as its source: a hook that is not its own yet.
            [operand, *other].into_iter().find(|id| is_hook(*id) && !own[id.index()])
        });
        match clash {
            // What follows from the hook has another source now.
            Some(hook) => {
                own[hook.index()] = true;
                sources.truncate(hook.index());
            }
            None if is_hook(id) && !own[id.index()] => sources.push(sources[node.operands[0].index()]),
            None => sources.push(id),
        }
    }
    sources
}

/// For each hook, the hooks that its value depends on.
fn reachability(graph: &Graph, hooks: &[Hook]) -> Vec<Bits> {
    let id_at = |node: NodeId| hooks.binary_search_by_key(&node, |hook| hook.node).ok();
    let mut from: Vec<Option<Bits>> = Vec::with_capacity(graph.len());
    let last_use = {
        let mut last = vec![0; graph.len()];
        graph.nodes().for_each(|(id, node)| node.operands.iter().for_each(|operand| last[operand.index()] = id.index()));
        last
    };
    let mut rows = Vec::with_capacity(hooks.len());
    for (id, node) in graph.nodes() {
        let mut bits = Bits::default();
        for operand in &node.operands {
            if let Some(other) = &from[operand.index()] {
                bits.join(other);
            }
        }
        if let Some(hook) = id_at(id) {
            rows.push(bits.clone());
            bits.insert(hook);
        }
        from.push(Some(bits));
        for operand in &node.operands {
            if last_use[operand.index()] == id.index() {
                from[operand.index()] = None;
            }
        }
    }
    rows
}

/// Whether `output` follows from `input` alone, and whether it does so position by position.
fn inspect(
    graph: &Graph,
    stages: &[Stage],
    tokens: NodeId,
    input: NodeId,
    output: NodeId,
    first_visit: &mut dyn FnMut(NodeId) -> bool,
) -> (bool, bool) {
    let mut stack = vec![output];
    let (mut closed, mut positionwise) = (true, true);
    while let Some(node) = stack.pop() {
        if node == input || !first_visit(node) {
            continue;
        }
        if node < input && !is_leaf(&graph.node(node).op) || node == tokens {
            closed = false;
        }
        let stage = &stages[stages.partition_point(|stage| stage.nodes.end <= node.index())];
        if matches!(stage.kind, StageKind::Attention(_)) || matches!(&graph.node(node).op, Op::Input { name, .. } if &**name == "positions")
        {
            positionwise = false;
        }
        stack.extend(graph.node(node).operands.iter().copied());
    }
    (closed, positionwise)
}
