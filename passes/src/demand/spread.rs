//! How a part of a result hangs on parts of the operands, for each operation.

use irc_ir::{
    graph::NodeId,
    infer::{normalise_axis, reduced_axes},
    op::Op,
    tensor::Sizes,
    types::{Dim, Type},
};
use smallvec::SmallVec;

use super::region::{Region, Span, whole};
use crate::{builder::known_sizes, canonical::Steps, scope::Scope};

/// How a part of a result hangs on parts of the operands.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Spread {
    /// In a way that nobody looks into: all of the result from all operands.
    Opaque,
    /// The result is a slice of the operand, or an index, whose dimension is gone.
    Part { dim: usize, steps: Steps, index: bool },
    /// Element by element, after broadcasting.
    Elementwise,
    /// Whole lines along these dimensions of the first operand; the others are needed whole.
    Lines(SmallVec<[usize; 4]>),
    /// Whole lines along these dimensions of the operand, which become one element each.
    Reduced { axes: SmallVec<[usize; 4]>, keepdim: bool },
    /// The tuple of a sort: the values and the indices have the shape of the tuple's first part.
    OfTuple { axis: usize },
    /// The first operand, but for these steps of a dimension.
    Update { dim: usize, at: Steps },
    /// Dimensions in another order: the old one at each place.
    Order(SmallVec<[usize; 4]>),
    /// The same elements under another shape.
    Reshape,
    /// Dimensions of size 1 repeated.
    Expand,
    /// Operands one after the other.
    Cat { dim: usize },
    /// Operands along a new dimension.
    Stack { dim: usize },
    /// Rows and columns of matrices.
    Matmul,
    /// Rows of a table by ids.
    Rows,
    /// Entries of a dimension by ids of a tensor of the same rank.
    Gather { dim: usize },
    /// Entries of a dimension by a vector of ids.
    Select { dim: usize },
    /// A new last dimension for each id.
    OneHot,
    /// Position by position: a module on all but the last dimensions.
    Module { leading: usize },
}

/// The sizes of a value that can be cut: of a tensor, or of the first part of what sorting gives.
pub(super) fn sizes_of(op: &Op, ty: &Type) -> Option<Sizes> {
    match (op, ty) {
        (Op::TopK { .. } | Op::Sort { .. }, Type::Tuple(parts)) => known_sizes(parts.first()?),
        (_, ty) => known_sizes(ty),
    }
}

fn axes(dims: &[i64], rank: usize) -> Option<SmallVec<[usize; 4]>> {
    dims.iter().map(|dim| normalise_axis(*dim, rank)).collect()
}

impl Spread {
    /// That of a node of the old graph. All sizes of its operands and its result must be known, and none 0.
    pub(super) fn of(scope: &Scope<'_, '_, '_>, id: NodeId) -> Spread {
        Spread::known(scope, id).unwrap_or(Spread::Opaque)
    }

    fn known(scope: &Scope<'_, '_, '_>, id: NodeId) -> Option<Spread> {
        let node = scope.graph.node(id);
        let sizes = |id: NodeId| sizes_of(&scope.graph.node(id).op, &scope.types.nodes[id.index()]);
        let result = sizes(id)?;
        let operands: SmallVec<[Sizes; 3]> = node.operands.iter().map(|operand| sizes(*operand)).collect::<Option<_>>()?;
        if result.contains(&0) || operands.iter().any(|sizes| sizes.contains(&0)) {
            return None;
        }
        let rank = operands.first().map_or(0, |sizes| sizes.len());
        let axis = |dim: i64| normalise_axis(dim, rank);
        let lines = |dim: i64| Some(Spread::Lines(SmallVec::from_iter([axis(dim)?])));
        let reduced =
            |dims: &[i64], keepdim: bool| Some(Spread::Reduced { axes: reduced_axes(dims, rank)?.into_iter().collect(), keepdim });
        let matrices = || Some(Spread::Lines(SmallVec::from_iter([rank.checked_sub(2)?, rank - 1])));
        match &node.op {
            Op::Slice { dim, start, end, step } => {
                let dim = axis(*dim)?;
                Some(Spread::Part { dim, steps: Steps::new(operands[0][dim], *start, *end, *step), index: false })
            }
            Op::Index { dim, index } => {
                let dim = axis(*dim)?;
                let start = normalise_axis(*index, operands[0][dim])?;
                Some(Spread::Part { dim, steps: Steps { start, step: 1, count: 1 }, index: true })
            }
            Op::Update { dim, start, end, step } => {
                let dim = axis(*dim)?;
                let at = Steps::new(operands[0][dim], *start, *end, *step);
                (at.count > 0).then_some(Spread::Update { dim, at })
            }
            Op::Reshape { .. } | Op::Unsqueeze { .. } | Op::Squeeze { .. } | Op::Flatten { .. } => Some(Spread::Reshape),
            Op::Transpose { dim0, dim1 } => {
                let mut order: SmallVec<[usize; 4]> = (0..rank).collect();
                order.swap(axis(*dim0)?, axis(*dim1)?);
                Some(Spread::Order(order))
            }
            Op::Permute { dims } => Some(Spread::Order(axes(dims, rank)?)),
            Op::Expand { .. } => Some(Spread::Expand),
            Op::Cat { dim } => Some(Spread::Cat { dim: axis(*dim)? }),
            Op::Stack { dim } => Some(Spread::Stack { dim: normalise_axis(*dim, rank + 1)? }),
            Op::Flip { dims } => Some(Spread::Lines(axes(dims, rank)?)),
            Op::Roll { dims, .. } if !dims.is_empty() => Some(Spread::Lines(axes(dims, rank)?)),
            Op::Tril { .. } | Op::Triu { .. } | Op::CausalMask { .. } => matrices(),
            Op::Softmax { dim } | Op::LogSoftmax { dim } | Op::Cumsum { dim } | Op::Cumprod { dim } => lines(*dim),
            Op::TopK { dim, .. } | Op::Sort { dim, .. } => lines(*dim),
            Op::RmsNorm { .. } | Op::LayerNorm { .. } => lines(-1),
            Op::Get { .. } => match &scope.graph.node(node.operands[0]).op {
                Op::TopK { dim, .. } | Op::Sort { dim, .. } => Some(Spread::OfTuple { axis: axis(*dim)? }),
                _ => None,
            },
            Op::Argmax { dim: Some(dim), keepdim } | Op::Argmin { dim: Some(dim), keepdim } => reduced(&[*dim], *keepdim),
            Op::Sum { dims, keepdim }
            | Op::Mean { dims, keepdim }
            | Op::Max { dims, keepdim }
            | Op::Min { dims, keepdim }
            | Op::Prod { dims, keepdim }
            | Op::Any { dims, keepdim }
            | Op::All { dims, keepdim }
            | Op::Logsumexp { dims, keepdim }
            | Op::Norm { dims, keepdim, .. }
            | Op::Var { dims, keepdim, .. }
            | Op::Std { dims, keepdim, .. } => reduced(dims, *keepdim),
            Op::Matmul {} => (rank >= 2 && operands[1].len() >= 2).then_some(Spread::Matmul),
            Op::Embedding {} => Some(Spread::Rows),
            Op::Gather { dim } => Some(Spread::Gather { dim: axis(*dim)? }),
            Op::IndexSelect { dim } => Some(Spread::Select { dim: axis(*dim)? }),
            Op::OneHot { .. } => Some(Spread::OneHot),
            Op::Apply { model, module } => {
                let spec = scope.builder.models.get(model)?;
                let module = spec.module(module).ok().filter(|module| module.positionwise)?;
                let leading = rank.checked_sub(spec.hook_type(module.input).rank() - 2)?;
                Some(Spread::Module { leading })
            }
            Op::Cast { .. }
            | Op::Add {}
            | Op::Sub {}
            | Op::Mul {}
            | Op::Div {}
            | Op::FloorDiv {}
            | Op::Remainder {}
            | Op::Fmod {}
            | Op::Pow {}
            | Op::Maximum {}
            | Op::Minimum {}
            | Op::Atan2 {}
            | Op::Logaddexp {}
            | Op::Neg {}
            | Op::Abs {}
            | Op::Sign {}
            | Op::Square {}
            | Op::Floor {}
            | Op::Ceil {}
            | Op::Round {}
            | Op::Trunc {}
            | Op::Frac {}
            | Op::Clamp { .. }
            | Op::Reciprocal {}
            | Op::Rsqrt {}
            | Op::Exp {}
            | Op::Exp2 {}
            | Op::Expm1 {}
            | Op::Log {}
            | Op::Log1p {}
            | Op::Log2 {}
            | Op::Log10 {}
            | Op::Sqrt {}
            | Op::Sin {}
            | Op::Cos {}
            | Op::Tan {}
            | Op::Asin {}
            | Op::Acos {}
            | Op::Atan {}
            | Op::Sinh {}
            | Op::Cosh {}
            | Op::Erf {}
            | Op::Sigmoid {}
            | Op::Tanh {}
            | Op::Silu {}
            | Op::Gelu { .. }
            | Op::Relu {}
            | Op::LeakyRelu { .. }
            | Op::Elu { .. }
            | Op::Softplus { .. }
            | Op::Mish {}
            | Op::LogSigmoid {}
            | Op::Eq {}
            | Op::Ne {}
            | Op::Lt {}
            | Op::Le {}
            | Op::Gt {}
            | Op::Ge {}
            | Op::And {}
            | Op::Or {}
            | Op::Xor {}
            | Op::Not {}
            | Op::Isnan {}
            | Op::Isinf {}
            | Op::Isfinite {}
            | Op::Select {} => Some(Spread::Elementwise),
            // What is there already, comes from elsewhere, or has elements from anywhere.
            Op::Const { .. }
            | Op::Forward { .. }
            | Op::Read { .. }
            | Op::Write { .. }
            | Op::Extend {}
            | Op::Loop { .. }
            | Op::Call { .. }
            | Op::Param { .. }
            | Op::EffectResult { .. }
            | Op::Input { .. }
            | Op::Weight { .. }
            | Op::Hook { .. }
            | Op::IndexBy { .. }
            | Op::IndexPut { .. }
            | Op::Scatter { .. }
            | Op::ScatterAdd { .. }
            | Op::NonZero { .. }
            | Op::MaskedSelect { .. }
            | Op::Split { .. }
            | Op::Chunk { .. }
            | Op::Roll { .. }
            | Op::Repeat { .. }
            | Op::RepeatInterleave { .. }
            | Op::Diagonal { .. }
            | Op::Full { .. }
            | Op::Arange { .. }
            | Op::Linspace { .. }
            | Op::Eye { .. }
            | Op::RandomUniform { .. }
            | Op::RandomNormal { .. }
            | Op::RandomInt { .. }
            | Op::Sample { .. }
            | Op::Argmax { dim: None, .. }
            | Op::Argmin { dim: None, .. }
            | Op::Einsum { .. }
            | Op::Rotary { .. }
            | Op::CosineSimilarity { .. }
            | Op::CrossEntropy { .. }
            | Op::KlDiv { .. }
            | Op::Tuple {}
            | Op::List { .. }
            | Op::Append {}
            | Op::Join {}
            | Op::Item { .. }
            | Op::Length {}
            | Op::Format { .. } => None,
        }
    }

    /// The smallest region that can be computed and has all of another one.
    pub(super) fn computed(&self, mut region: Region, sizes: &[usize], operands: &[Sizes]) -> Region {
        let mut all = |dim: usize| region[dim] = Span::all(sizes[dim]);
        match self {
            Spread::Opaque => return whole(sizes),
            Spread::Lines(axes) => axes.iter().for_each(|axis| all(*axis)),
            Spread::OfTuple { axis } => all(*axis),
            Spread::Update { dim, at } if at.step > 1 => all(*dim),
            Spread::Rows | Spread::OneHot => all(sizes.len() - 1),
            Spread::Module { leading } => (*leading..sizes.len()).for_each(all),
            Spread::Reshape => {
                for group in groups(&operands[0], sizes) {
                    group.widen(&mut region, sizes);
                }
            }
            Spread::Part { .. }
            | Spread::Elementwise
            | Spread::Reduced { .. }
            | Spread::Update { .. }
            | Spread::Order(_)
            | Spread::Expand
            | Spread::Cat { .. }
            | Spread::Stack { .. }
            | Spread::Matmul
            | Spread::Gather { .. }
            | Spread::Select { .. } => {}
        }
        region
    }

    /// The part of an operand that a region hangs on; nothing if it does not hang on it at all.
    pub(super) fn needs(&self, region: &[Span], sizes: &[usize], at: usize, operands: &[Sizes]) -> Option<Region> {
        let own = &operands[at];
        let aligned = |own: &[usize], region: &[Span]| -> Region {
            let surplus = region.len() - own.len();
            own.iter().enumerate().map(|(dim, size)| if *size == 1 { Span::all(1) } else { region[surplus + dim] }).collect()
        };
        Some(match self {
            Spread::Opaque => whole(own),
            Spread::Part { dim, steps, index } => {
                let mut needed = Region::from_slice(region);
                let range = if *index { Span::all(1) } else { region[*dim] };
                let part = Span { start: steps.at(range.start), end: steps.at(range.end - 1) + 1 };
                if *index {
                    needed.insert(*dim, part)
                } else {
                    needed[*dim] = part
                }
                needed
            }
            Spread::Elementwise | Spread::Expand => aligned(own, region),
            Spread::Lines(axes) if at == 0 => {
                let mut needed = Region::from_slice(region);
                axes.iter().for_each(|axis| needed[*axis] = Span::all(own[*axis]));
                needed
            }
            Spread::Lines(_) => whole(own),
            Spread::OfTuple { axis } => {
                let mut needed = Region::from_slice(region);
                needed[*axis] = Span::all(own[*axis]);
                needed
            }
            Spread::Reduced { axes, keepdim } => {
                let mut kept = region.iter();
                let dims = own.iter().enumerate().map(|(dim, size)| {
                    let reduced = axes.contains(&dim);
                    let span = if reduced && !keepdim { None } else { kept.next().copied() };
                    span.filter(|_| !reduced).unwrap_or(Span::all(*size))
                });
                dims.collect()
            }
            Spread::Update { dim, at: steps } => {
                let range = region[*dim];
                let replaced = Span { start: steps.start, end: steps.end() };
                let common = range.common(replaced);
                match at {
                    0 if steps.step == 1 && replaced.holds(range) => return None,
                    0 => Region::from_slice(region),
                    _ => {
                        let mut part = Region::from_slice(region);
                        part[*dim] = if steps.step == 1 { common?.from(steps.start) } else { Span::all(steps.count) };
                        aligned(own, &part)
                    }
                }
            }
            Spread::Order(order) => {
                let mut needed = Region::from_slice(region);
                order.iter().enumerate().for_each(|(place, old)| needed[*old] = region[place]);
                needed
            }
            Spread::Reshape => {
                let mut needed = whole(own);
                for group in groups(own, sizes) {
                    group.narrow(region, sizes, own, &mut needed);
                }
                needed
            }
            Spread::Cat { dim } => {
                let start: usize = operands[..at].iter().map(|other| other[*dim]).sum();
                let mut needed = Region::from_slice(region);
                needed[*dim] = region[*dim].common(Span { start, end: start + own[*dim] })?.from(start);
                needed
            }
            Spread::Stack { dim } => {
                let mut needed = Region::from_slice(region);
                needed.remove(*dim);
                region[*dim].holds(Span { start: at, end: at + 1 }).then_some(needed)?
            }
            Spread::Matmul => {
                let [leading @ .., rows, columns] = region else { return Some(whole(own)) };
                let (inner, rank) = (own.len() - 2, own.len());
                let mut needed = aligned(&own[..inner], &leading[leading.len() - inner..]);
                match at {
                    0 => needed.extend([*rows, Span::all(own[rank - 1])]),
                    _ => needed.extend([Span::all(own[inner]), *columns]),
                }
                needed
            }
            Spread::Rows if at == 0 => whole(own),
            Spread::Rows | Spread::OneHot => Region::from_slice(&region[..region.len() - 1]),
            Spread::Gather { dim } if at == 0 => {
                let mut needed = Region::from_slice(region);
                needed[*dim] = Span::all(own[*dim]);
                needed
            }
            Spread::Gather { .. } => Region::from_slice(region),
            Spread::Select { dim } if at == 0 => {
                let mut needed = Region::from_slice(region);
                needed[*dim] = Span::all(own[*dim]);
                needed
            }
            Spread::Select { dim } => own.iter().map(|_| region[*dim]).collect(),
            Spread::Module { leading } => {
                let tail = own[*leading..].iter().map(|size| Span::all(*size));
                region[..*leading].iter().copied().chain(tail).collect()
            }
        })
    }

    /// The operation on the parts of its operands, where it names sizes or places.
    pub(super) fn op(&self, op: &Op, region: &[Span]) -> Op {
        let shape = || region.iter().map(|span| Dim::from(span.size())).collect();
        match self {
            Spread::Reshape => Op::Reshape { shape: shape() },
            Spread::Expand => Op::Expand { shape: shape() },
            Spread::Update { dim, at } if at.step == 1 => {
                let part = Span { start: at.start, end: at.end() }.common(region[*dim]).unwrap_or(region[*dim]);
                let part = part.from(region[*dim].start);
                Op::Update { dim: *dim as i64, start: Some(part.start as i64), end: Some(part.end as i64), step: 1 }
            }
            Spread::Opaque
            | Spread::Part { .. }
            | Spread::Elementwise
            | Spread::Lines(_)
            | Spread::Reduced { .. }
            | Spread::OfTuple { .. }
            | Spread::Update { .. }
            | Spread::Order(_)
            | Spread::Cat { .. }
            | Spread::Stack { .. }
            | Spread::Matmul
            | Spread::Rows
            | Spread::Gather { .. }
            | Spread::Select { .. }
            | Spread::OneHot
            | Spread::Module { .. } => op.clone(),
        }
    }
}

/// Neighbouring dimensions of both shapes that have the same elements.
struct Group {
    old: std::ops::Range<usize>,
    new: std::ops::Range<usize>,
}

/// The shapes of a reshape cut where they can be.
fn groups(old: &[usize], new: &[usize]) -> Vec<Group> {
    let mut groups = vec![];
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        let begin = (i, j);
        match (old.get(i), new.get(j)) {
            (Some(a), Some(b)) if a == b => (i, j) = (i + 1, j + 1),
            (Some(1), _) => i += 1,
            (_, Some(1)) => j += 1,
            (Some(a), Some(b)) => {
                let (mut a, mut b) = (*a, *b);
                (i, j) = (i + 1, j + 1);
                while a != b {
                    if a < b {
                        a *= old.get(i).copied().unwrap_or(1);
                        i += 1;
                    } else {
                        b *= new.get(j).copied().unwrap_or(1);
                        j += 1;
                    }
                    if i > old.len() || j > new.len() {
                        break;
                    }
                }
            }
            (Some(_), None) => i += 1,
            (None, Some(_)) => j += 1,
            (None, None) => break,
        }
        groups.push(Group { old: begin.0..i.min(old.len()), new: begin.1..j.min(new.len()) });
    }
    groups
}

impl Group {
    /// How many elements follow one index of the first new dimension.
    fn after_first(range: &std::ops::Range<usize>, sizes: &[usize]) -> usize {
        sizes[range.start + 1..range.end].iter().product()
    }

    fn widen(&self, region: &mut Region, sizes: &[usize]) {
        let new = &mut region[self.new.clone()];
        match (self.old.len(), new) {
            (_, []) | (1, [_]) => {}
            // The first dimension stays a range, where all after it are whole.
            (1, [_, rest @ ..]) => {
                rest.iter_mut().zip(&sizes[self.new.start + 1..]).for_each(|(span, size)| *span = Span::all(*size));
            }
            // Whole steps of the first old dimension: they are found again in `narrow`.
            (_, new) => new.iter_mut().zip(&sizes[self.new.clone()]).for_each(|(span, size)| *span = Span::all(*size)),
        }
    }

    fn narrow(&self, region: &[Span], sizes: &[usize], own: &[usize], needed: &mut Region) {
        if self.old.len() != 1 || self.new.is_empty() {
            return;
        }
        let first = region[self.new.start];
        let step = Group::after_first(&self.new, sizes);
        let span = Span { start: first.start * step, end: first.end * step };
        needed[self.old.start] = if Span::all(own[self.old.start]).holds(span) { span } else { Span::all(own[self.old.start]) };
    }
}
