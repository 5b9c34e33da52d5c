//! Chains of operations on a value, put into the graph where it is computed.

use std::mem;

use irc_ir::{
    diagnostic::{Diagnostic, Span},
    graph::{Graph, NodeId},
    infer::{Models, infer},
    op::Op,
    plan::{ChainForm, ChainOperand},
    types::{DType, Name, TensorType, Type},
};

use super::{Lowering, unsupported};
use crate::{
    failed,
    onnx::{
        builder::data_type,
        proto::{TypeProto, ValueInfoProto, type_proto},
    },
};

impl Lowering<'_> {
    /// Makes the value of a lowered node what a chain makes of it, with new inputs for what the chain is given: their names.
    pub(super) fn splice(&mut self, id: NodeId, form: &ChainForm) -> Result<Vec<String>, Diagnostic> {
        let x = self.tensor(id)?;
        if x.dtype != DType::F32 {
            return Err(unsupported(&self.graph.node(id).op, &format!("chains of operations are on {}", DType::F32)));
        }
        let names: Vec<String> = (0..form.given.len()).map(|at| format!("chain.{}.{at}", id.index())).collect();
        // It is a graph like any other: x, what is given, and the operations.
        let (graph, types) = graph(form, x)?;
        for (name, dtype) in names.iter().zip(&form.given) {
            // Like those of the value, its sizes are open.
            let open = type_proto::Tensor { elem_type: data_type(*dtype) as i32, shape: None };
            let ty = TypeProto { value: Some(type_proto::Value::TensorType(open)) };
            self.add_input(ValueInfoProto { name: name.clone(), r#type: Some(ty) });
        }
        let own = self.name(id)?.to_owned();
        let mut chain = Lowering::within(mem::take(&mut self.out), &graph, &types);
        for (at, name) in [&own].into_iter().chain(&names).enumerate() {
            chain.bind(NodeId::new(at), vec![name.clone()]);
        }
        let lowered = (names.len() + 1..graph.len()).try_for_each(|at| chain.node(NodeId::new(at)));
        let made = lowered.and_then(|()| chain.name(NodeId::new(graph.len() - 1)).map(str::to_owned));
        self.out = chain.into_builder();
        self.names.insert(id, vec![made?]);
        Ok(names)
    }
}

/// The operations of a chain on a value of a type.
fn graph(form: &ChainForm, x: &TensorType) -> Result<(Graph, Vec<Type>), Diagnostic> {
    let mut graph = Graph::new("chain");
    let mut types: Vec<Type> = vec![];
    for dtype in [DType::F32].iter().chain(&form.given) {
        let name: Name = types.len().to_string().into();
        graph.add(Op::Input { name, dtype: *dtype, shape: x.shape.to_vec() }, [], Span::default());
        types.push(Type::tensor(*dtype, x.shape.clone()));
    }
    let first = types.len();
    for step in &form.steps {
        let operands = step.operands.iter().map(|operand| match *operand {
            ChainOperand::Own => 0,
            ChainOperand::Given(at) => 1 + at,
            ChainOperand::Step(at) => first + at,
        });
        let operands: Vec<usize> = operands.collect();
        let Some(of) = operands.iter().map(|at| types.get(*at)).collect::<Option<Vec<_>>>() else {
            return Err(failed("an operation of a chain comes before its operands"));
        };
        let ty = infer(&step.op, &of, &Models::new())?;
        graph.add(step.op.clone(), operands.into_iter().map(NodeId::new), Span::default());
        types.push(ty);
    }
    Ok((graph, types))
}
