//! Chains of operations on the host that work element by element become one step, so that what is between them never has to be
//! in memory as a whole.

use hashbrown::HashMap;
use irc_ir::{
    graph::NodeId,
    plan::{Lane, Step, Write},
    types::Type,
    verify::Verified,
};

use crate::egraph::is_elementwise;

/// Elements from which on it is worth it.
const LARGE: usize = 1 << 14;

/// Puts operations together where one after the other works element by element on as many elements, and nothing else uses what
/// is between them. Each chain runs where its last operation stood.
pub(super) fn fuse(program: &Verified, values: &[NodeId], lanes: &[Lane], steps: Vec<Step>) -> Vec<Step> {
    if !steps.iter().any(|step| matches!(step, Step::Host(id) if elements(program, *id).is_some())) {
        return steps;
    }
    let graph = program.graph();
    let uses = uses(program, values, lanes, &steps);
    // For each operation, the one that it has become a part of, and for each of these its operations.
    let mut whole: HashMap<NodeId, NodeId> = HashMap::new();
    let mut chains: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
    for step in steps.iter().rev() {
        let Step::Host(id) = *step else { continue };
        let Some(count) = elements(program, id) else { continue };
        let last = whole.get(&id).copied().unwrap_or(id);
        for &operand in &graph.node(id).operands {
            let operand = values[operand.index()];
            let joins = elements(program, operand) == Some(count)
                && program.ty(operand).as_tensor().map(|ty| &ty.shape) == program.ty(id).as_tensor().map(|ty| &ty.shape)
                && !whole.contains_key(&operand)
                && uses.get(&operand).is_some_and(|users| users.iter().all(|user| whole.get(user).unwrap_or(user) == &last));
            if joins {
                whole.insert(operand, last);
                chains.entry(last).or_insert_with(|| vec![last]).push(operand);
            }
        }
    }
    let fused = steps.into_iter().filter_map(|step| match step {
        Step::Host(id) if whole.contains_key(&id) => None,
        Step::Host(id) => Some(match chains.remove(&id) {
            Some(mut chain) => {
                chain.sort();
                Step::Kernel(chain)
            }
            None => Step::Host(id),
        }),
        step => Some(step),
    });
    fused.collect()
}

/// The number of elements of an operation that can be part of a chain.
fn elements(program: &Verified, id: NodeId) -> Option<usize> {
    let node = program.graph().node(id);
    let Type::Tensor(ty) = program.ty(id) else { return None };
    let count = ty.shape.iter().map(|dim| dim.as_usize()).product::<Option<usize>>()?;
    // Operands of as many elements in the same order, or of one, are cut with the rest.
    let cut = |operand: &NodeId| {
        let Type::Tensor(other) = program.ty(*operand) else { return false };
        other.shape == ty.shape || other.shape.iter().all(|dim| dim.as_usize() == Some(1))
    };
    let fits = count >= LARGE && is_elementwise(&node.op) && node.operands.iter().all(cut);
    fits.then_some(count)
}

/// Who uses the value of each operation; what is used by anything but operations has itself as a user.
fn uses(program: &Verified, values: &[NodeId], lanes: &[Lane], steps: &[Step]) -> HashMap<NodeId, Vec<NodeId>> {
    let mut uses: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
    let mut other: Vec<NodeId> = lanes.iter().flat_map(|lane| lane.writes.iter().flat_map(Write::operands).chain(lane.tokens)).collect();
    for step in steps {
        match step {
            Step::Host(id) => {
                for operand in &program.graph().node(*id).operands {
                    uses.entry(values[operand.index()]).or_default().push(*id);
                }
            }
            Step::Effect(at) => other.extend(program.graph().effects[*at].uses().map(|used| values[used.index()])),
            Step::Stage(_) | Step::Join(_) | Step::Keep(_) | Step::Kernel(_) => {}
        }
    }
    other.extend(program.graph().roots().map(|root| values[root.index()]));
    other.into_iter().for_each(|used| uses.entry(used).or_default().push(used));
    uses
}
