//! Chains of operations that work element by element, block by block.

use irc_ir::{
    diagnostic::Diagnostic,
    eval::{Value, eval},
    graph::NodeId,
    tensor::Tensor,
    types::Type,
    verify::Verified,
};
use rayon::prelude::*;

use crate::failed;

/// Elements of a block: few enough that what is between the operations stays in a second-level cache.
const BLOCK: usize = 1 << 14;

/// The value of the last operation of a chain. `given` has its operands. The bits are those of one operation after the other:
/// each element is computed from its own operands alone.
///
/// # Errors
/// E4003 at the operation that fails.
pub(super) fn run_kernel(
    program: &Verified,
    values: &[NodeId],
    chain: &[NodeId],
    given: &[(NodeId, Tensor)],
) -> Result<Tensor, Diagnostic> {
    let graph = program.graph();
    let last = chain.last().ok_or_else(|| failed("a chain of operations is empty"))?;
    let Type::Tensor(ty) = program.ty(*last) else { return Err(failed("a chain of operations makes a tensor")) };
    let sizes: Vec<usize> = ty.shape.iter().filter_map(|dim| dim.as_usize()).collect();
    let count: usize = sizes.iter().product();
    let flat = |tensor: &Tensor| if tensor.len() == count { tensor.reshaped([count]) } else { tensor.clone() };
    let given: Vec<(NodeId, Tensor)> = given.iter().map(|(id, tensor)| (*id, flat(tensor))).collect();
    let block = |start: usize| {
        let range = start..count.min(start + BLOCK);
        let mut known: Vec<(NodeId, Value)> = Vec::with_capacity(given.len() + chain.len());
        for (id, tensor) in &given {
            // A number stays one: tensors without dimensions count less where types are mixed.
            let part = match tensor.rank() {
                1 if tensor.len() == count => tensor.part(range.clone()),
                0 => tensor.clone(),
                _ => tensor.reshaped([1]),
            };
            known.push((*id, Value::Tensor(part)));
        }
        for id in chain {
            let node = graph.node(*id);
            let operand = |operand: &NodeId| {
                let operand = values[operand.index()];
                known.iter().find(|(id, _)| *id == operand).map(|(_, value)| value)
            };
            let operands: Vec<&Value> = node.operands.iter().filter_map(operand).collect();
            let value = eval(&node.op, &operands).map_err(|error| failed(error.message()).or_label(graph.span(*id)))?;
            known.push((*id, value));
        }
        known.pop().and_then(|(_, value)| value.into_tensor()).ok_or_else(|| failed("a chain of operations makes a tensor"))
    };
    let starts: Vec<usize> = (0..count).step_by(BLOCK).collect();
    let blocks: Vec<Result<Tensor, Diagnostic>> = starts.into_par_iter().map(block).collect();
    let blocks = blocks.into_iter().collect::<Result<Vec<Tensor>, Diagnostic>>()?;
    Ok(Tensor::joined(&blocks).reshaped(sizes))
}
