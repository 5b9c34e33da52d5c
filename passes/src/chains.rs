//! Writes of what a chain of operations makes of a hook's own value x, element by element: an engine can put the operations into
//! the stage that computes x, which otherwise runs once to show x and once more from what became of it.
//!
//! ```text
//! write f (relu (read f))                                select(0 > x, 0, x)
//! write f (update (read f) (abs (slice (read f))))       select(mask, abs(x), x)
//! write f (select c (read f) v)                          select(c, x, v)
//! ```
//!
//! All operations work on tensors of the shape of x: an element that an update leaves alone is computed all the same, and then not
//! selected. Values of the program come in the place and in the type in which they meet x.

use hashbrown::HashMap;
use irc_ir::{
    graph::NodeId,
    infer::{Models, infer},
    model::ModelSpec,
    op::{Op, OpKind},
    plan::{Chain, ChainForm, ChainGiven, ChainOperand, ChainStep, Part},
    types::{DType, Type, promote_operands},
    verify::Verified,
};
use smallvec::SmallVec;

use crate::{
    edits::MOST,
    values::{HookValue, Values},
};

/// Whether an operation has the bits of [`irc_ir::eval`] in ONNX Runtime on the processor as well, as it is lowered: on f32 and
/// bool, for infinities, zeros of both signs and what is not a number. Where two values meet that are not numbers, which of them
/// comes out is up to the processor.
///
/// Sums, products, quotients and square roots are rounded as IEEE 754 says; all else picks one of its operands or rounds to whole
/// numbers. Powers, exponentials, logarithms and angles are approximated, by each in its own way.
#[rustfmt::skip]
pub fn is_exact(op: &Op) -> bool {
    use OpKind::*;
    match op.kind() {
        Add | Sub | Mul | Div | Maximum | Minimum | Fmod | Remainder | Neg | Abs | Sign | Square | Sqrt | Rsqrt | Reciprocal
        | Floor | Ceil | Round | Trunc | Frac | Relu | Eq | Ne | Lt | Le | Gt | Ge | And | Or | Xor | Not | Isnan | Isinf | Isfinite
        | Select | Cast => true,
        Clamp => matches!(op, Op::Clamp { min, max } if min.iter().chain(max).all(|bound| !bound.get().is_nan())),
        // Of 0 one takes the product, the other leaves it alone.
        LeakyRelu => matches!(op, Op::LeakyRelu { slope } if slope.get() > 0.0 && (slope.get() as f32).is_finite()),
        FloorDiv | Pow | Atan2 | Logaddexp | Exp | Exp2 | Expm1 | Log | Log1p | Log2 | Log10 | Sin | Cos | Tan | Asin | Acos | Atan
        | Sinh | Cosh | Erf | Sigmoid | Tanh | Silu | Gelu | Elu | Softplus | Mish | LogSigmoid => false,
        Forward | Read | Write | Apply | Extend | Loop | Call | Param | EffectResult | Input | Weight | Hook | Const | Tuple | Get
        | List | Append | Join | Item | Length | Format | Reshape | Unsqueeze | Squeeze | Flatten | Transpose | Permute | Expand | Flip
        | Roll | Repeat | RepeatInterleave | Slice | Index | Split | Chunk | Diagonal | Gather | Embedding | IndexSelect | IndexBy
        | MaskedSelect | Update | IndexPut | Scatter | ScatterAdd | Cat | Stack | Full | Arange | Eye | OneHot | Linspace
        | RandomUniform | RandomInt | RandomNormal | Sample | Sum | Mean | Max | Min | Prod | Any | All | Argmax | Argmin | Cumsum | Cumprod
        | Tril | Triu | CausalMask | NonZero | Norm | Var | Std | CosineSimilarity | RmsNorm | LayerNorm | Rotary | Softmax
        | LogSoftmax | Logsumexp | CrossEntropy | KlDiv | Sort | TopK | Matmul | Einsum => false,
    }
}

/// The chain that makes `value` of the hook value `own`, if there is one.
pub(crate) fn chain(program: &Verified, values: &Values, spec: &ModelSpec, own: &HookValue, value: NodeId) -> Option<Chain> {
    let (known, given) = Default::default();
    let mut walk = Walk { program, values, spec, own, known, steps: vec![], given };
    let ChainOperand::Step(last) = walk.made(value, &mut vec![])? else { return None };
    Some(walk.needed(last))
}

struct Walk<'a> {
    program: &'a Verified,
    values: &'a Values,
    spec: &'a ModelSpec,
    /// x.
    own: &'a HookValue,
    /// By node and the parts of x that it is in.
    known: HashMap<(NodeId, Vec<Part>), Option<ChainOperand>>,
    /// Operations with the types of their results.
    steps: Vec<(ChainStep, DType)>,
    given: Vec<(ChainGiven, DType)>,
}

impl Walk<'_> {
    /// What `node` is of the part of x that `parts` cut out, or nothing if it does not depend on x in this way.
    fn made(&mut self, node: NodeId, parts: &mut Vec<Part>) -> Option<ChainOperand> {
        let node = self.values.of[node.index()];
        if self.values.hooks.get(node).is_some_and(|value| value.is(self.spec, self.own)) {
            return parts.is_empty().then_some(ChainOperand::Own);
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

    fn made_by(&mut self, node: NodeId, parts: &mut Vec<Part>) -> Option<ChainOperand> {
        let of = self.program.graph().node(node);
        let ty = self.program.ty(node).as_tensor()?;
        match &of.op {
            &Op::Slice { dim, start, end, step } if parts.last() == Some(&Part { dim, start, end, step }) => {
                let part = parts.pop()?;
                let made = self.made(of.operands[0], parts);
                parts.push(part);
                made
            }
            &Op::Update { dim, start, end, step } => {
                let whole = self.made(of.operands[0], parts);
                parts.push(Part { dim, start, end, step });
                let part = self.made(of.operands[1], parts);
                let operands = match (whole, part) {
                    (None, None) => None,
                    (whole, part) => {
                        let mask = self.give(ChainGiven { value: None, parts: parts.clone() }, DType::Bool);
                        let part = part.or_else(|| self.given(of.operands[1], parts, ty.dtype));
                        mask.zip(part).map(|(mask, part)| (mask, part, whole))
                    }
                };
                parts.pop();
                let (mask, part, whole) = operands?;
                let whole = whole.or_else(|| self.given(of.operands[0], parts, ty.dtype))?;
                self.step(node, Op::Select {}, [mask, part, whole])
            }
            op if is_exact(op) => {
                let mut operands: SmallVec<[Option<ChainOperand>; 3]> = SmallVec::new();
                for operand in &of.operands {
                    let made = self.made(*operand, parts);
                    // Each element stays at its place.
                    let fits = made.is_none() || self.program.ty(*operand).as_tensor().is_some_and(|of| of.shape == ty.shape);
                    if !fits {
                        return None;
                    }
                    operands.push(made);
                }
                if operands.iter().all(Option::is_none) {
                    return None;
                }
                let types = of.operands.iter().filter_map(|operand| self.program.ty(*operand).as_tensor()).map(|ty| (ty.dtype, ty.rank()));
                let compared = promote_operands(types.collect::<Vec<_>>())?;
                let complete = of.operands.iter().zip(operands).enumerate().map(|(at, (operand, made))| {
                    made.or_else(|| {
                        let dtype = match (op, at) {
                            (Op::And {} | Op::Or {} | Op::Xor {}, _) | (Op::Select {}, 0) => DType::Bool,
                            (Op::Eq {} | Op::Ne {} | Op::Lt {} | Op::Le {} | Op::Gt {} | Op::Ge {}, _) => compared,
                            _ => ty.dtype,
                        };
                        self.given(*operand, parts, dtype)
                    })
                });
                let complete = complete.collect::<Option<SmallVec<[ChainOperand; 3]>>>()?;
                self.step(node, op.clone(), complete)
            }
            _ => None,
        }
    }

    /// A value of the program that meets x as an element type, in a part of it.
    fn given(&mut self, value: NodeId, parts: &[Part], dtype: DType) -> Option<ChainOperand> {
        self.program.ty(value).as_tensor()?;
        self.give(ChainGiven { value: Some(self.values.of[value.index()]), parts: parts.to_vec() }, dtype)
    }

    fn give(&mut self, given: ChainGiven, dtype: DType) -> Option<ChainOperand> {
        if !matches!(dtype, DType::F32 | DType::Bool) {
            return None;
        }
        let given = (given, dtype);
        let place = self.given.iter().position(|known| *known == given).unwrap_or_else(|| {
            self.given.push(given);
            self.given.len() - 1
        });
        Some(ChainOperand::Given(place))
    }

    /// An operation on tensors of the shape of x, if it gives what the node of the program does.
    fn step(&mut self, node: NodeId, op: Op, operands: impl IntoIterator<Item = ChainOperand>) -> Option<ChainOperand> {
        let expected = self.program.ty(node).as_tensor()?;
        let operands: SmallVec<[ChainOperand; 3]> = operands.into_iter().collect();
        let dtype = |operand: &ChainOperand| match operand {
            ChainOperand::Own => DType::F32,
            ChainOperand::Step(at) => self.steps[*at].1,
            ChainOperand::Given(at) => self.given[*at].1,
        };
        let types: Vec<Type> = operands.iter().map(|operand| Type::tensor(dtype(operand), expected.shape.clone())).collect();
        let found = infer(&op, &types.iter().collect::<Vec<_>>(), &Models::new()).ok()?;
        let fits = found.as_tensor() == Some(expected) && matches!(expected.dtype, DType::F32 | DType::Bool);
        fits.then(|| {
            self.steps.push((ChainStep { op, operands }, expected.dtype));
            ChainOperand::Step(self.steps.len() - 1)
        })
    }

    /// The chain that ends with a step, of what that step needs alone.
    fn needed(&self, last: usize) -> Chain {
        let mut steps = vec![false; last + 1];
        let mut given = vec![false; self.given.len()];
        steps[last] = true;
        for at in (0..=last).rev().collect::<Vec<_>>() {
            if steps[at] {
                for operand in &self.steps[at].0.operands {
                    match operand {
                        ChainOperand::Own => {}
                        ChainOperand::Step(step) => steps[*step] = true,
                        ChainOperand::Given(place) => given[*place] = true,
                    }
                }
            }
        }
        let place = |among: &[bool], at: usize| among[..at].iter().filter(|needed| **needed).count();
        let moved = |operand: &ChainOperand| match *operand {
            ChainOperand::Own => ChainOperand::Own,
            ChainOperand::Step(at) => ChainOperand::Step(place(&steps, at)),
            ChainOperand::Given(at) => ChainOperand::Given(place(&given, at)),
        };
        let kept = self.given.iter().zip(&given).filter(|(_, needed)| **needed).map(|(given, _)| given);
        let (given, dtypes) = kept.cloned().unzip();
        let kept = self.steps.iter().zip(&steps).filter(|(_, needed)| **needed);
        let steps = kept.map(|((step, _), _)| ChainStep { op: step.op.clone(), operands: step.operands.iter().map(moved).collect() });
        Chain { form: ChainForm { given: dtypes, steps: steps.collect() }.into(), given }
    }
}
