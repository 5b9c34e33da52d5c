//! An engine in a crate of its own: copy it, and replace [`Model::run`] by what your runtime does.
//!
//! It evaluates a model's graph node by node with the meaning that each operation has in `irc`. Everything else (forwards,
//! writes, attention, schedules) is done by `Driven`, which makes a backend of it:
//!
//! ```
//! use irc_backends::{Backend, execute::Driven};
//! assert!(!Driven::new(outside_engine::NodeByNode).name().is_empty());
//! ```

use std::{collections::HashMap, sync::Arc};

use irc_backends::{Call, Caps, Engine, Handle, LoadedModel};
use irc_ir::{
    code::Code,
    diagnostic::Diagnostic,
    eval::{Value, eval},
    graph::NodeId,
    op::Op,
    tensor::Tensor,
    types::Dim,
};

/// The engine.
pub struct NodeByNode;

impl Engine for NodeByNode {
    fn caps(&self) -> Caps {
        // `eval` adds in one order whatever the number of rows is, so that batches need no padding.
        Caps {
            engine: format!("node-by-node {}", env!("CARGO_PKG_VERSION")),
            chunk: 1024,
            min_rows: 1,
            edits: false,
            splices: false,
            prunes: true,
        }
    }

    fn load(&self, model: &Handle) -> Result<Arc<dyn LoadedModel>, Diagnostic> {
        // A missing weight is better known now than in the middle of a program.
        model.weights.check(&model.spec)?;
        Ok(Arc::new(Model(model.clone())))
    }
}

/// A model on the engine.
struct Model(Handle);

impl LoadedModel for Model {
    fn run(&self, call: &Call<'_>) -> Result<Vec<Tensor>, Diagnostic> {
        let Call { given, want, .. } = *call;
        let graph = self.0.spec.graph();
        let tokens = given.first().and_then(|(_, tensor)| tensor.shape().first()).copied().unwrap_or(0);

        // The flat batch [N, …] is one sequence [1, N, …]: that is what the graph's operations are written for.
        let sequence = |tensor: &Tensor| tensor.reshaped([&[1], tensor.shape()].concat());
        let mut values: HashMap<NodeId, Value> = given.iter().map(|(node, tensor)| (*node, sequence(tensor).into())).collect();

        // What is wanted, and from the last node to the first what that needs. What is given needs nothing.
        let mut needed = vec![false; graph.len()];
        want.iter().for_each(|node| needed[node.index()] = true);
        for (id, node) in graph.nodes().rev() {
            if needed[id.index()] && !values.contains_key(&id) {
                node.operands.iter().for_each(|operand| needed[operand.index()] = true);
            }
        }

        // Nodes come after their operands.
        for (id, _) in graph.nodes() {
            if needed[id.index()] && !values.contains_key(&id) {
                let value = self.compute(id, tokens, &values)?;
                values.insert(id, value);
            }
        }

        let flat = |node: &NodeId| match values.get(node).and_then(Value::as_tensor) {
            Some(tensor) if tensor.rank() >= 2 => Ok(tensor.reshaped([&[tokens], &tensor.shape()[2..]].concat())),
            _ => Err(failed(format!("node {node:?} has no value for each token"))),
        };
        want.iter().map(flat).collect()
    }

    fn numeric_class(&self) -> String {
        "node-by-node".to_owned()
    }
}

impl Model {
    /// The value of a node from those of its operands.
    fn compute(&self, id: NodeId, tokens: usize, values: &HashMap<NodeId, Value>) -> Result<Value, Diagnostic> {
        let Handle { spec, weights } = &self.0;
        let node = spec.graph().node(id);
        match &node.op {
            Op::Weight { name, .. } => {
                let decl = spec.weights().iter().find(|decl| decl.name == *name);
                Ok(weights.tensor(decl.ok_or_else(|| failed(format!("`{name}` is no weight")))?)?.into())
            }
            Op::Input { name, .. } => Err(failed(format!("`{name}` is needed and was not given"))),
            op => {
                // Attributes may speak of the numbers of sequences and of tokens.
                let op = op.substitute(&|symbol| match symbol {
                    "B" => Some(Dim::from(1usize)),
                    "T" => Some(Dim::from(tokens)),
                    _ => None,
                });
                let operands: Vec<&Value> = node.operands.iter().map(|operand| &values[operand]).collect();
                eval(&op, &operands).map_err(|error| failed(error.message()))
            }
        }
    }
}

/// E4003 is the code of whatever an engine fails at.
fn failed(message: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::error(Code::E4003, message.to_string())
}
