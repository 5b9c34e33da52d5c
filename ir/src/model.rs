//! What the compiler knows of a model: its inside as one graph of the same IR, with hooks as nodes, cut into stages.
//!
//! Everything else follows from the graph: shapes and types of hooks, which hook reaches which, what a module computes
//! from what, flops and bytes. An architecture is one function that builds the graph with a [`ModelBuilder`]:
//!
//! ```
//! use irc_ir::{model::ModelBuilder, types::{DType, Dim}};
//! let mut m = ModelBuilder::new("tiny", DType::F32, 16, 8);
//! let tokens = m.tokens();
//! let x = m.module("embed", tokens, |m, t| m.embedding("weight", t, 16, 4));
//! let x = m.module("up", x, |m, x| m.linear("weight", x, 4, 16));
//! let spec = m.finish(x).unwrap();
//! let hook = spec.hook("up.output").unwrap();
//! assert_eq!(spec.hook_type(hook).to_string(), "tensor<BxTx16xf32>");
//! assert!(spec.reaches(spec.hook("embed.output").unwrap(), hook));
//! assert!(spec.hook("up.ouptut").unwrap_err().help[0].starts_with("did you mean `up.output`"));
//! ```

use std::{collections::BTreeMap, ops::Range};

use hashbrown::HashMap;

use crate::{
    code::Code,
    diagnostic::Diagnostic,
    graph::{Graph, NodeId},
    op::Op,
    types::{DType, Dim, Name, TensorType, Type, elements},
};

mod build;
pub use build::{AttentionShape, ModelBuilder, RotaryShape};

/// A hook of a model, by its place in the topological order of the model's hooks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HookId(pub u32);

impl HookId {
    /// The place of the hook.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A named value inside a model.
#[derive(Clone, Debug)]
pub struct Hook {
    /// The Hugging Face path: `model.layers.5.mlp.output`.
    pub name: Name,
    /// The hook's node in the model's graph.
    pub node: NodeId,
    /// The stage that the node belongs to.
    pub stage: usize,
}

/// A module of a model: what lies between its two hooks.
#[derive(Clone, Debug)]
pub struct Module {
    /// The Hugging Face path.
    pub path: Name,
    /// The hook that holds what goes in.
    pub input: HookId,
    /// The hook that holds what comes out.
    pub output: HookId,
    /// Whether the output follows from the input, weights and positions alone, so that it can be applied to any value.
    pub closed: bool,
    /// Whether it works on each position by itself.
    pub positionwise: bool,
}

/// A stretch of a model that an engine runs in one go.
#[derive(Clone, Debug)]
pub struct Stage {
    /// What a person calls it: `layers.3 attention`.
    pub name: Name,
    /// Position by position, or attention.
    pub kind: StageKind,
    /// The nodes of the stage.
    pub nodes: Range<usize>,
    /// The values of earlier stages that it uses.
    pub inputs: Vec<NodeId>,
    /// The values of the stage that later stages use.
    pub outputs: Vec<NodeId>,
}

/// How a stage treats positions.
#[derive(Clone, Debug)]
pub enum StageKind {
    /// Each position by itself, so that tokens of many rows can travel in one flat batch.
    Positionwise,
    /// Positions look at earlier positions of their row.
    Attention(Attention),
}

/// An attention stage: the values that it takes and the hooks inside it, in the order of their computation.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Heads, sizes, scale, rotary and window.
    pub shape: AttentionShape,
    /// Queries, keys and values before rotary: [B, T, heads * size] or [B, T, heads, size].
    pub inputs: [NodeId; 3],
    /// Per head after rotary, [B, T, heads, size]; keys and values have `kv_heads`.
    pub q: HookId,
    /// Keys.
    pub k: HookId,
    /// Values.
    pub v: HookId,
    /// Scaled scores before the mask, [B, heads, T, T].
    pub scores: HookId,
    /// After softmax, [B, heads, T, T].
    pub pattern: HookId,
    /// Per head before the output projection, [B, T, heads, size].
    pub z: HookId,
}

/// A weight that a model needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WeightDecl {
    /// Its name; ends in `.T` where the matrix is stored as [in, out].
    pub name: Name,
    /// Its type; all sizes are known.
    pub ty: TensorType,
    /// The weight that has the same numbers in another layout, where they are tied.
    pub copy_of: Option<Name>,
}

/// A model without its weights: stages and hooks as plain data.
#[derive(Clone, Debug)]
pub struct ModelSpec {
    architecture: Name,
    dtype: DType,
    vocabulary: usize,
    context: usize,
    graph: Graph,
    types: Vec<Type>,
    hooks: Vec<Hook>,
    hook_ids: HashMap<Name, HookId>,
    modules: BTreeMap<Name, Module>,
    stages: Vec<Stage>,
    /// Whether all attention is causal: asked for each stage of each lane, so it is not looked for each time.
    causal: bool,
    weights: Vec<WeightDecl>,
    output: NodeId,
    /// For each node, the node whose value it has: hooks have that of their operand.
    sources: Vec<NodeId>,
    /// Row j has the bits of the hooks that reach hook j.
    reached_from: Vec<Bits>,
}

/// A set of small numbers. Most sets here begin with all numbers up to some point, which take no space: whatever a layer
/// computes depends on nearly everything before the layer.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Bits {
    /// How many words at the beginning are full.
    full: usize,
    /// The words after them; later ones are empty.
    tail: Vec<u64>,
}

impl Bits {
    fn insert(&mut self, at: usize) {
        let Some(word) = (at / 64).checked_sub(self.full) else { return };
        if self.tail.len() <= word {
            self.tail.resize(word + 1, 0);
        }
        self.tail[word] |= 1 << (at % 64);
        self.drop_full();
    }
    fn contains(&self, at: usize) -> bool {
        match (at / 64).checked_sub(self.full) {
            None => true,
            Some(word) => self.tail.get(word).is_some_and(|word| word >> (at % 64) & 1 == 1),
        }
    }
    fn join(&mut self, other: &Bits) {
        let (ahead, behind) = (other.full.saturating_sub(self.full), self.full.saturating_sub(other.full));
        self.tail.drain(..ahead.min(self.tail.len()));
        self.full += ahead;
        let words = other.tail.get(behind..).unwrap_or_default();
        if self.tail.len() < words.len() {
            self.tail.resize(words.len(), 0);
        }
        self.tail.iter_mut().zip(words).for_each(|(a, b)| *a |= b);
        self.drop_full();
    }
    fn drop_full(&mut self) {
        let full = self.tail.iter().take_while(|word| **word == u64::MAX).count();
        self.tail.drain(..full);
        self.full += full;
    }
}

impl ModelSpec {
    /// The name of the architecture: `llama`.
    pub fn architecture(&self) -> &Name {
        &self.architecture
    }

    /// The element type of weights and activations.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The number of token ids.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The longest sequence of tokens.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The inside of the model.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The type of a node of [`ModelSpec::graph`], over the symbols B and T.
    pub fn node_type(&self, node: NodeId) -> &Type {
        &self.types[node.index()]
    }

    /// The type of each node of [`ModelSpec::graph`], in its order.
    pub fn node_types(&self) -> &[Type] {
        &self.types
    }

    /// The hooks in topological order.
    pub fn hooks(&self) -> &[Hook] {
        &self.hooks
    }

    /// The hooks with their ids.
    pub fn hook_ids(&self) -> impl Iterator<Item = (HookId, &Hook)> {
        self.hooks.iter().enumerate().map(|(at, hook)| (HookId(at as u32), hook))
    }

    /// The modules, by path.
    pub fn modules(&self) -> impl Iterator<Item = &Module> {
        self.modules.values()
    }

    /// The stages in the order in which they run.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The stage that a node of the graph is in.
    pub fn stage_of(&self, node: NodeId) -> usize {
        self.stages.partition_point(|stage| stage.nodes.end <= node.index())
    }

    /// The weights in the order of their first use.
    pub fn weights(&self) -> &[WeightDecl] {
        &self.weights
    }

    /// The node that holds what the model returns: the logits.
    pub fn output(&self) -> NodeId {
        self.output
    }

    /// Whether a value at a position depends on that position and earlier ones only.
    pub fn causal(&self) -> bool {
        self.causal
    }

    /// The hook of this name, if there is one.
    pub fn find_hook(&self, name: &str) -> Option<HookId> {
        self.hook_ids.get(name).copied()
    }

    /// The module of this path, if there is one, whether or not it can be applied to values.
    pub fn find_module(&self, path: &str) -> Option<&Module> {
        self.modules.get(path)
    }

    /// The hook of this name.
    ///
    /// # Errors
    /// E2001 with the nearest names.
    pub fn hook(&self, name: &str) -> Result<HookId, Diagnostic> {
        self.hook_ids.get(name).copied().ok_or_else(|| {
            let error = Diagnostic::error(Code::E2001, format!("the model has no hook `{name}`"));
            if self.modules.contains_key(name) {
                return error.help(format!("`{name}` is a module; its hooks are `{name}.input` and `{name}.output`"));
            }
            let named = error.suggest(name, self.hooks.iter().map(|hook| &*hook.name));
            if !named.help.is_empty() {
                return named;
            }
            let parent = name.rsplit_once('.').map_or("", |(parent, _)| parent);
            let beside: Vec<_> = self.hooks.iter().filter(|hook| !parent.is_empty() && hook.name.starts_with(parent)).take(4).collect();
            match beside.as_slice() {
                [] => named.help("`irc model hooks NAME` lists the hooks of a model"),
                some => {
                    named.help(format!("there are {}", some.iter().map(|hook| format!("`{}`", hook.name)).collect::<Vec<_>>().join(", ")))
                }
            }
        })
    }

    /// The name, node and stage of a hook.
    pub fn hook_info(&self, hook: HookId) -> &Hook {
        &self.hooks[hook.index()]
    }

    /// The node whose value a node has as long as nothing is written: hooks have that of their operand, all others their
    /// own. No operation has two operands of one source that can be written apart.
    pub fn source(&self, node: NodeId) -> NodeId {
        self.sources[node.index()]
    }

    /// The type of the value at a hook, over the symbols B and T.
    pub fn hook_type(&self, hook: HookId) -> &TensorType {
        match self.node_type(self.hooks[hook.index()].node) {
            Type::Tensor(ty) => ty,
            other => unreachable!("hooks are tensors: the builder sees to it, but one is {other}"),
        }
    }

    /// Whether a hook shows a number for every pair of positions: scores and pattern of attention.
    pub fn is_square(&self, hook: HookId) -> bool {
        match &self.stages[self.hook_info(hook).stage].kind {
            StageKind::Attention(attention) => hook == attention.scores || hook == attention.pattern,
            StageKind::Positionwise => false,
        }
    }

    /// The hook whose node this is.
    pub fn hook_at(&self, node: NodeId) -> Option<HookId> {
        match &self.graph.node(node).op {
            Op::Hook { name } => self.hook_ids.get(name).copied(),
            _ => None,
        }
    }

    /// Whether the value at `to` depends on the value at `from`.
    pub fn reaches(&self, from: HookId, to: HookId) -> bool {
        from != to && self.reached_from[to.index()].contains(from.index())
    }

    /// The module of this path, if it can be applied to values.
    ///
    /// # Errors
    /// E2005 with the nearest names.
    pub fn module(&self, path: &str) -> Result<&Module, Diagnostic> {
        match self.modules.get(path) {
            Some(module) if module.closed => Ok(module),
            Some(module) => Err(Diagnostic::error(Code::E2005, format!("`{}` cannot be applied to a value", module.path))
                .note("its output depends on more than its input")),
            None => {
                let error = Diagnostic::error(Code::E2005, format!("the model has no module `{path}`"));
                if let Some(hook) = self.hook_ids.get(path) {
                    let whose = self.modules.values().find(|module| module.input == *hook || module.output == *hook);
                    let error = error.note(format!("`{path}` is a hook"));
                    return Err(match whose {
                        Some(module) => error.help(format!("the module is `{}`", module.path)),
                        None => error,
                    });
                }
                let named = error.suggest(path, self.modules.keys().map(|path| &**path));
                if !named.help.is_empty() {
                    return Err(named);
                }
                let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
                let beside = self.modules.keys().filter(|other| other.rsplit_once('.').map_or("", |(parent, _)| parent) == parent);
                let list: Vec<String> = beside.take(4).map(|path| format!("`{path}`")).collect();
                Err(if list.is_empty() { named } else { named.help(format!("there are {}", list.join(", "))) })
            }
        }
    }

    /// The type of a module applied to a value of type `given`.
    ///
    /// # Errors
    /// E1003 or E1006 if the value does not fit.
    pub fn apply_type(&self, module: &Module, given: &TensorType) -> Result<Type, Diagnostic> {
        let (input, output) = (self.hook_type(module.input), self.hook_type(module.output));
        // What follows batch and tokens; the token ids of the embedding have nothing there.
        let (tail_in, tail_out) = (&input.shape[2..], &output.shape[2..]);
        let leading = given.rank().checked_sub(tail_in.len());
        let fits = leading.is_some_and(|leading| given.shape[leading..] == *tail_in && (module.positionwise || leading == 2));
        if !fits || given.dtype != input.dtype {
            let leading = if module.positionwise { "…" } else { "batch, tokens" };
            let expected: Vec<String> = [leading.to_owned()].into_iter().chain(tail_in.iter().map(Dim::to_string)).collect();
            let code = if fits { Code::E1006 } else { Code::E1003 };
            let message = format!("`{}` takes {} [{}], but gets {given}", module.path, input.dtype, expected.join(", "));
            let error = Diagnostic::error(code, message);
            return Err(match () {
                () if fits => error.help(format!("cast the value: `cast(x) {{dtype: {}}}`", input.dtype)),
                () if given.rank() == tail_in.len() + 1 && !module.positionwise => {
                    error.help("it looks at several positions: keep the dimension of tokens, with `slice` instead of `index`")
                }
                () => error,
            });
        }
        let leading = given.shape[..leading.unwrap_or(0)].iter().cloned();
        Ok(Type::tensor(output.dtype, leading.chain(tail_out.iter().cloned())))
    }

    /// Multiplications and additions of a node for one sequence batch, over the symbols B and T; only matrix products
    /// count, everything else is small beside them.
    pub fn flops(&self, node: NodeId) -> Dim {
        let Op::Matmul {} = self.graph.node(node).op else { return Dim::known(0) };
        let operand = self.graph.node(node).operands[0];
        match (self.node_type(node), self.node_type(operand)) {
            (Type::Tensor(out), Type::Tensor(left)) => {
                elements(&out.shape) * left.shape.last().cloned().unwrap_or(Dim::known(1)) * Dim::known(2)
            }
            _ => Dim::known(0),
        }
    }

    /// The number of weights; tied ones count once.
    pub fn parameters(&self) -> Dim {
        let own = self.weights.iter().filter(|weight| weight.copy_of.is_none());
        own.fold(Dim::known(0), |sum, weight| sum + elements(&weight.ty.shape))
    }

    /// Bytes of all weights as they are stored, tied ones in each of their layouts.
    pub fn weight_bytes(&self) -> Dim {
        self.weights.iter().fold(Dim::known(0), |sum, weight| sum + weight.ty.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_sets() {
        // Against sorted sets, with sets of all kinds: full beginnings, gaps, long tails.
        let mut state = 1u64;
        let mut below = |end: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % end
        };
        for _ in 0..200 {
            let mut both = [(Bits::default(), std::collections::BTreeSet::new()), Default::default()];
            for (bits, set) in &mut both {
                let start = below(300);
                for at in (0..start).chain((0..below(40)).map(|_| start + below(200)).collect::<Vec<_>>()) {
                    bits.insert(at);
                    set.insert(at);
                }
            }
            let [(mut bits, mut set), (other, others)] = both;
            bits.join(&other);
            set.extend(others);
            assert!((0..600).all(|at| bits.contains(at) == set.contains(&at)), "{bits:?} for {set:?}");
        }
    }
}
