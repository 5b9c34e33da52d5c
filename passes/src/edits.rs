//! Writes that an engine can make where it computes a hook: the hook's own value x, scaled, shifted and replaced, each in part.
//!
//! ```text
//! write f (update (read f) v)                          where(mask, v, x)
//! write f (update (read f) (add (slice (read f)) v))   x + add, which is -0 elsewhere
//! write f (add (mul (read f) c) v)                     x * scale + add
//! ```
//!
//! What else works element by element is a chain of operations ([`chains`](crate::chains)), for engines that take it.
//!
//! Bit by bit it is what the operations give one after the other: x * 1 and x + -0 are x, and no sum or product is reordered.
//! Only where two values meet that are not numbers, which of them comes out is up to the processor's instructions.

use hashbrown::HashMap;

use irc_ir::{
    graph::NodeId,
    model::{HookId, ModelSpec, StageKind},
    op::Op,
    plan::{Affine, Edit, EditStep, Operand, Part},
    types::DType,
    verify::Verified,
};

use crate::{
    chains::chain,
    values::{ForwardValue, HookValue, Values},
};

/// The most operations that are looked at for one edit: walks are short, and recursion is shallow.
pub(crate) const MOST: usize = 64;

/// What was made of a part of x, each element at its own place.
#[derive(Clone, Copy)]
struct Made {
    by: Operand,
    scaled: bool,
    added: bool,
    replaced: bool,
}

/// How the value that a forward writes at a hook is made of the hook's own value, if it is an edit of it: of what the forward
/// would show there without that write. With `chains`, a chain of operations is one.
pub(crate) fn edit(program: &Verified, values: &Values, forward: &ForwardValue, hook: HookId, chains: bool) -> Option<Edit> {
    let spec = &program.models()[&values.bases[forward.base].model];
    let value = forward.writes.get(hook)?;
    let info = spec.hook_info(hook);
    let stage = &spec.stages()[info.stage];
    let source = spec.source(info.node);
    let made_here = matches!(stage.kind, StageKind::Positionwise) && stage.nodes.contains(&source.index());
    // What ends a stage is given to the next one as well as made in it, and may be shared with forwards that do not write it.
    let ends = !stage.outputs.is_empty() && stage.outputs.iter().all(|output| spec.source(*output) == source);
    if !made_here || ends || program.ty(value).as_tensor()?.dtype != DType::F32 {
        return None;
    }
    let mut own = forward.clone();
    own.writes.remove(hook);
    own.keep_visible(spec, hook);
    let own = HookValue { forward: own, hook };
    let affine = affine(program, values, spec, &own, value);
    let chain = if chains { chain(program, values, spec, &own, value) } else { None };
    match (affine, chain) {
        // What replaces a part of x may be made of x: then only the chain does without x on the host.
        (Some(affine), Some(chain)) if !affine.given().all(|value| chain.given.iter().any(|given| given.value == Some(value))) => {
            Some(Edit::Chain(chain))
        }
        (Some(affine), _) => Some(Edit::Affine(affine)),
        (None, chain) => chain.map(Edit::Chain),
    }
}

fn affine(program: &Verified, values: &Values, spec: &ModelSpec, own: &HookValue, value: NodeId) -> Option<Affine> {
    let mut walk = Walk { program, values, spec, own, known: HashMap::new(), steps: vec![] };
    let Made { by: Operand::Step(last), scaled, added, replaced } = walk.made(value, &mut vec![])? else { return None };
    Some(Affine { steps: needed(&walk.steps, last), scales: scaled, adds: added, replaces: replaced })
}

/// The steps that the last one needs, itself included.
fn needed(steps: &[EditStep], last: usize) -> Vec<EditStep> {
    let mut needed = vec![false; last + 1];
    needed[last] = true;
    for at in (0..=last).rev() {
        if needed[at] {
            steps[at].operands.iter().for_each(|operand| {
                if let Operand::Step(step) = operand {
                    needed[*step] = true;
                }
            });
        }
    }
    let place = |step: usize| needed[..step].iter().filter(|needed| **needed).count();
    let moved = |operand: Operand| if let Operand::Step(step) = operand { Operand::Step(place(step)) } else { operand };
    let kept = steps[..=last].iter().zip(&needed).filter(|(_, needed)| **needed);
    kept.map(|(step, _)| EditStep { operands: step.operands.map(moved), ..*step }).collect()
}

struct Walk<'a> {
    program: &'a Verified,
    values: &'a Values,
    spec: &'a ModelSpec,
    /// x.
    own: &'a HookValue,
    /// By node and the slices around it.
    known: HashMap<(NodeId, Vec<Part>), Option<Made>>,
    steps: Vec<EditStep>,
}

impl Walk<'_> {
    /// What `node` is of the part of x that `parts` cut out, or nothing if it is something else.
    fn made(&mut self, node: NodeId, parts: &mut Vec<Part>) -> Option<Made> {
        let node = self.values.of[node.index()];
        if self.values.hooks.get(node).is_some_and(|value| value.is(self.spec, self.own)) {
            return parts.is_empty().then_some(Made { by: Operand::Own, scaled: false, added: false, replaced: false });
        }
        let key = (node, parts.clone());
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        if self.known.len() >= MOST {
            return None;
        }
        // Until it is known; no value depends on itself.
        self.known.insert(key.clone(), None);
        let made = self.made_by(node, parts);
        self.known.insert(key, made);
        made
    }

    fn made_by(&mut self, node: NodeId, parts: &mut Vec<Part>) -> Option<Made> {
        let of = self.program.graph().node(node);
        let (first, second) = (*of.operands.first()?, of.operands.get(1).copied());
        match &of.op {
            &Op::Slice { dim, start, end, step } if parts.last() == Some(&Part { dim, start, end, step }) => {
                let part = parts.pop()?;
                let made = self.made(first, parts);
                parts.push(part);
                made.map(|made| self.step(node, [made.by, Operand::Absent], made))
            }
            &Op::Update { dim, start, end, step } => {
                let whole = self.made(first, parts)?;
                parts.push(Part { dim, start, end, step });
                let part = self.made(second?, parts);
                parts.pop();
                let part = part.unwrap_or(Made { by: self.given(second?), scaled: false, added: false, replaced: true });
                let made = Made {
                    by: whole.by,
                    scaled: whole.scaled || part.scaled,
                    added: whole.added || part.added,
                    replaced: whole.replaced || part.replaced,
                };
                Some(self.step(node, [whole.by, part.by], made))
            }
            Op::Mul {} | Op::Add {} | Op::Sub {} => {
                let scales = matches!(of.op, Op::Mul {});
                let (own, made, operands) = match self.made(first, parts) {
                    Some(made) => (first, made, [made.by, self.given(second?)]),
                    None if matches!(of.op, Op::Sub {}) => return None,
                    None => {
                        let made = self.made(second?, parts)?;
                        (second?, made, [self.given(first), made.by])
                    }
                };
                // Each element stays at its place and in its type, and a product comes before a sum.
                let fits = self.program.ty(own) == self.program.ty(node) && !made.added && !(scales && made.scaled);
                let after = Made { scaled: made.scaled || scales, added: !scales, ..made };
                fits.then(|| self.step(node, operands, after))
            }
            _ => None,
        }
    }

    fn given(&self, node: NodeId) -> Operand {
        Operand::Given(self.values.of[node.index()])
    }

    fn step(&mut self, node: NodeId, operands: [Operand; 2], made: Made) -> Made {
        self.steps.push(EditStep { node, operands });
        Made { by: Operand::Step(self.steps.len() - 1), ..made }
    }
}
