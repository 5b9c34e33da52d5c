//! The types of values: tensors with symbolic, normalised dims, tuples, lists, strings, opaque host values, forwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, ops,
    sync::Arc,
};

use smallvec::SmallVec;

/// A short shared string: the name of a model, hook, module, weight or symbol.
pub type Name = Arc<str>;

/// The type of a tensor's elements.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum DType {
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of binary32.
    BF16,
    /// Signed, 64 bits.
    I64,
    /// Signed, 32 bits.
    I32,
    /// Unsigned, 8 bits.
    U8,
    /// True or false, one byte each.
    Bool,
}

impl DType {
    /// Every element type, in the order of declaration.
    pub const ALL: [DType; 8] = [DType::F64, DType::F32, DType::F16, DType::BF16, DType::I64, DType::I32, DType::U8, DType::Bool];

    /// The name in program text.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::U8 => "u8",
            DType::Bool => "bool",
        }
    }

    /// The element type called `name` in program text.
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 | DType::I32 => 4,
            DType::F16 | DType::BF16 => 2,
            DType::U8 | DType::Bool => 1,
        }
    }

    /// Whether it is a floating point type.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F64 | DType::F32 | DType::F16 | DType::BF16)
    }

    /// PyTorch's categories: bool below integers below floats.
    const fn category(self) -> u8 {
        match self {
            DType::Bool => 0,
            DType::U8 | DType::I32 | DType::I64 => 1,
            DType::F16 | DType::BF16 | DType::F32 | DType::F64 => 2,
        }
    }

    /// The element type of an operation on both, both with dimensions (`torch.promote_types`).
    pub fn promote(self, other: DType) -> DType {
        use DType::*;
        match (self, other) {
            (a, b) if a == b => a,
            (F16, BF16) | (BF16, F16) => F32,
            (a, b) if a.category() != b.category() => {
                if a.category() > b.category() {
                    a
                } else {
                    b
                }
            }
            (a, b) => {
                if a.size() > b.size() {
                    a
                } else {
                    b
                }
            }
        }
    }
}

/// The element type of an element-wise operation under PyTorch's rules (`torch.result_type`): operands without
/// dimensions count only where they are of a higher category than all operands with dimensions.
pub fn promote_operands(operands: impl IntoIterator<Item = (DType, usize)> + Clone) -> Option<DType> {
    let join = |with_dims: bool| {
        let of_kind = operands.clone().into_iter().filter(|(_, rank)| (*rank > 0) == with_dims).map(|(dtype, _)| dtype);
        of_kind.reduce(DType::promote)
    };
    match (join(true), join(false)) {
        (Some(dims), Some(scalar)) if scalar.category() > dims.category() => Some(scalar),
        (Some(dims), _) => Some(dims),
        (None, scalar) => scalar,
    }
}

impl fmt::Display for DType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// The size of one dimension: a number, or a polynomial over symbols in normal form.
///
/// Two sizes that are equal as polynomials are equal as values: `T+1-1` is `T`. Symbols stand for sizes of at least 1.
/// What no program needs, more than 64 terms or 16 factors, is the largest number, as are numbers beyond it: no tensor is
/// that large.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dim(Repr);

/// The most terms of a size.
pub(crate) const MAX_TERMS: usize = 64;

/// The largest number in a size that is read from a file. Sums of products of such sizes do not reach the end of 64 bits.
pub(crate) const MAX_SIZE: u64 = 1 << 40;

/// The most symbols in a term.
pub(crate) const MAX_FACTORS: usize = 16;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Known(i64),
    /// At least one term has symbols; sorted, no factor is zero.
    Sum(Arc<[Term]>),
}

/// `factor` times the product of `symbols` (sorted, with repetition).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Term {
    symbols: SmallVec<[Name; 2]>,
    factor: i64,
}

impl Dim {
    /// A size that is a number.
    pub const fn known(size: i64) -> Dim {
        Dim(Repr::Known(size))
    }

    /// Whether a text can be the name of a symbol: an upper-case letter, then upper-case letters, digits and `_`.
    pub(crate) fn is_symbol(text: &str) -> bool {
        text.starts_with(|first: char| first.is_ascii_uppercase()) && text.bytes().all(Dim::in_symbol)
    }

    /// Whether the name of a symbol can go on with this character.
    pub(crate) const fn in_symbol(byte: u8) -> bool {
        matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_')
    }

    /// A size that is not known yet.
    pub fn symbol(name: impl Into<Name>) -> Dim {
        Dim(Repr::Sum([Term { symbols: SmallVec::from_iter([name.into()]), factor: 1 }].into()))
    }

    /// The number, where it is one.
    pub fn as_known(&self) -> Option<i64> {
        match self.0 {
            Repr::Known(size) => Some(size),
            Repr::Sum(_) => None,
        }
    }

    /// The number as an index type, where it is one and not negative.
    pub fn as_usize(&self) -> Option<usize> {
        self.as_known().and_then(|size| usize::try_from(size).ok())
    }

    fn terms(&self) -> SmallVec<[Term; 2]> {
        match &self.0 {
            Repr::Known(0) => SmallVec::new(),
            Repr::Known(size) => SmallVec::from_iter([Term { symbols: SmallVec::new(), factor: *size }]),
            Repr::Sum(terms) => terms.iter().cloned().collect(),
        }
    }

    fn from_terms(terms: impl IntoIterator<Item = Term>) -> Dim {
        let mut sum: BTreeMap<SmallVec<[Name; 2]>, i64> = BTreeMap::new();
        for term in terms {
            let factor = sum.entry(term.symbols).or_default();
            *factor = factor.saturating_add(term.factor);
        }
        sum.retain(|_, factor| *factor != 0);
        if sum.len() > MAX_TERMS || sum.keys().any(|symbols| symbols.len() > MAX_FACTORS) {
            return Dim::known(i64::MAX);
        }
        if sum.keys().all(|symbols| symbols.is_empty()) {
            return Dim::known(sum.into_values().next().unwrap_or(0));
        }
        Dim(Repr::Sum(sum.into_iter().map(|(symbols, factor)| Term { symbols, factor }).collect()))
    }

    /// The symbol, where the size is one and nothing else.
    pub fn as_symbol(&self) -> Option<&Name> {
        match &self.0 {
            Repr::Sum(terms) => match &**terms {
                [Term { symbols, factor: 1 }] if symbols.len() == 1 => symbols.first(),
                _ => None,
            },
            Repr::Known(_) => None,
        }
    }

    /// The size with each symbol replaced by what `value` gives for it, where it gives something.
    pub fn substitute(&self, value: &dyn Fn(&str) -> Option<Dim>) -> Dim {
        let Repr::Sum(terms) = &self.0 else { return self.clone() };
        terms.iter().fold(Dim::known(0), |sum, term| {
            let product = term
                .symbols
                .iter()
                .fold(Dim::known(term.factor), |product, symbol| product * value(symbol).unwrap_or_else(|| Dim::symbol(symbol.clone())));
            sum + product
        })
    }

    /// `self / divisor`, where that is again a polynomial.
    pub fn exact_div(&self, divisor: &Dim) -> Option<Dim> {
        if self == divisor && *self != Dim::known(0) {
            return Some(Dim::known(1));
        }
        let terms = divisor.terms();
        let [by] = terms.as_slice() else { return None };
        let quotient = self.terms().into_iter().map(|mut term| {
            for symbol in &by.symbols {
                let at = term.symbols.iter().position(|name| name == symbol)?;
                term.symbols.remove(at);
            }
            (term.factor % by.factor == 0).then(|| Term { symbols: term.symbols, factor: term.factor / by.factor })
        });
        Some(Dim::from_terms(quotient.collect::<Option<Vec<_>>>()?))
    }

    /// Whether the size is at least `bound` for all values of its symbols, as far as that can be told from the signs
    /// of its terms (symbols are at least 1).
    pub fn at_least(&self, bound: i64) -> bool {
        let terms = self.terms();
        terms.iter().all(|term| term.factor > 0 || term.symbols.is_empty())
            && terms.iter().fold(0i64, |sum, term| sum.saturating_add(term.factor)) >= bound
    }

    /// The size as a sum of products, each a number and symbols; none for 0.
    pub(crate) fn products(&self) -> Vec<(i64, SmallVec<[Name; 2]>)> {
        self.terms().into_iter().map(|term| (term.factor, term.symbols)).collect()
    }

    /// Whether a symbol occurs in the size.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        match &self.0 {
            Repr::Known(_) => false,
            Repr::Sum(terms) => terms.iter().any(|term| term.symbols.iter().any(|symbol| &**symbol == name)),
        }
    }

    /// The symbols that occur in the size.
    pub fn symbols(&self) -> Vec<Name> {
        let mut names: Vec<Name> = self.terms().into_iter().flat_map(|term| term.symbols).collect();
        names.sort();
        names.dedup();
        names
    }
}

impl ops::Add for Dim {
    type Output = Dim;
    fn add(self, other: Dim) -> Dim {
        match (self.as_known(), other.as_known()) {
            (Some(a), Some(b)) => Dim::known(a.saturating_add(b)),
            _ => Dim::from_terms(self.terms().into_iter().chain(other.terms())),
        }
    }
}

impl ops::Sub for Dim {
    type Output = Dim;
    fn sub(self, other: Dim) -> Dim {
        self + other * Dim::known(-1)
    }
}

impl ops::Mul for Dim {
    type Output = Dim;
    fn mul(self, other: Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.as_known(), other.as_known()) {
            return Dim::known(a.saturating_mul(b));
        }
        let (left, right) = (self.terms(), other.terms());
        Dim::from_terms(left.iter().flat_map(|a| {
            right.iter().map(|b| {
                let mut symbols: SmallVec<[Name; 2]> = a.symbols.iter().chain(&b.symbols).cloned().collect();
                symbols.sort();
                Term { symbols, factor: a.factor.saturating_mul(b.factor) }
            })
        }))
    }
}

impl From<usize> for Dim {
    fn from(size: usize) -> Dim {
        Dim::known(i64::try_from(size).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Dim {
    /// `9`, `T`, `T-1`, `2*B*T+3`: terms with symbols first, no spaces.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms = self.terms();
        if terms.is_empty() {
            return out.write_str("0");
        }
        let (numbers, symbolic): (Vec<_>, Vec<_>) = terms.iter().partition(|term| term.symbols.is_empty());
        for (at, term) in symbolic.into_iter().chain(numbers).enumerate() {
            let sign = if term.factor < 0 {
                "-"
            } else if at > 0 {
                "+"
            } else {
                ""
            };
            out.write_str(sign)?;
            match (term.factor.unsigned_abs(), term.symbols.is_empty()) {
                (1, false) => write!(out, "{}", term.symbols.join("*"))?,
                (factor, false) => write!(out, "{factor}*{}", term.symbols.join("*"))?,
                (factor, true) => write!(out, "{factor}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The sizes of a tensor's dimensions.
pub type Shape = SmallVec<[Dim; 4]>;

/// A shape of numbers.
pub fn known_shape(sizes: &[usize]) -> Shape {
    sizes.iter().map(|&size| Dim::from(size)).collect()
}

/// The number of elements of a shape.
pub fn elements(shape: &[Dim]) -> Dim {
    shape.iter().cloned().fold(Dim::known(1), |product, dim| product * dim)
}

/// Element type and shape of a tensor.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TensorType {
    /// The element type.
    pub dtype: DType,
    /// The sizes of the dimensions.
    pub shape: Shape,
}

impl TensorType {
    /// A tensor type.
    pub fn new(dtype: DType, shape: impl IntoIterator<Item = Dim>) -> TensorType {
        TensorType { dtype, shape: shape.into_iter().collect() }
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The bytes of the elements, without overhead.
    pub fn bytes(&self) -> Dim {
        elements(&self.shape) * Dim::from(self.dtype.size())
    }

    /// The type with the symbols of its shape replaced.
    pub fn substitute(&self, value: &dyn Fn(&str) -> Option<Dim>) -> TensorType {
        TensorType { dtype: self.dtype, shape: self.shape.iter().map(|dim| dim.substitute(value)).collect() }
    }
}

impl fmt::Display for TensorType {
    /// `tensor<1x9x576xf32>`; a size of several terms stands in parentheses.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("tensor<")?;
        for dim in &self.shape {
            let text = dim.to_string();
            if text.contains(['+', '-', '*']) { write!(out, "({text})x")? } else { write!(out, "{text}x")? }
        }
        write!(out, "{}>", self.dtype)
    }
}

/// The type of a value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Type {
    /// A tensor.
    Tensor(TensorType),
    /// A fixed number of values of different types.
    Tuple(Arc<[Type]>),
    /// Any number of values of one type.
    List(Arc<Type>),
    /// Text.
    Str,
    /// Something only the user's host functions understand.
    Opaque,
    /// A forward pass as a value.
    Forward(ForwardType),
}

/// The type of a forward pass: which model, for how many sequences of how many tokens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ForwardType {
    /// The program's name for the model.
    pub model: Name,
    /// The number of sequences, `B` in the types of hooks.
    pub batch: Dim,
    /// The number of tokens of each, `T` in the types of hooks: the new ones, where the forward extends another.
    pub tokens: Dim,
    /// The number of tokens before those: 0 unless the forward extends another.
    pub past: Dim,
}

impl ForwardType {
    /// The number of tokens of each sequence in all.
    pub fn length(&self) -> Dim {
        self.past.clone() + self.tokens.clone()
    }
}

impl Type {
    /// A tensor type.
    pub fn tensor(dtype: DType, shape: impl IntoIterator<Item = Dim>) -> Type {
        Type::Tensor(TensorType::new(dtype, shape))
    }

    /// The tensor type, where it is one.
    pub fn as_tensor(&self) -> Option<&TensorType> {
        match self {
            Type::Tensor(tensor) => Some(tensor),
            Type::Tuple(_) | Type::List(_) | Type::Str | Type::Opaque | Type::Forward(_) => None,
        }
    }

    /// The type with the symbols of its sizes replaced; those of a list stand for any size, whatever they are called.
    pub fn substitute(&self, value: &dyn Fn(&str) -> Option<Dim>) -> Type {
        match self {
            Type::Tensor(tensor) => Type::Tensor(tensor.substitute(value)),
            Type::Tuple(parts) => Type::Tuple(parts.iter().map(|part| part.substitute(value)).collect()),
            Type::Forward(ForwardType { model, batch, tokens, past }) => Type::Forward(ForwardType {
                model: model.clone(),
                batch: batch.substitute(value),
                tokens: tokens.substitute(value),
                past: past.substitute(value),
            }),
            Type::List(_) | Type::Str | Type::Opaque => self.clone(),
        }
    }

    /// The sizes that occur in the type, but for those of lists.
    pub fn dims(&self) -> SmallVec<[&Dim; 4]> {
        match self {
            Type::Tensor(tensor) => tensor.shape.iter().collect(),
            Type::Tuple(parts) => parts.iter().flat_map(Type::dims).collect(),
            Type::Forward(forward) => SmallVec::from_iter([&forward.batch, &forward.tokens, &forward.past]),
            Type::List(_) | Type::Str | Type::Opaque => SmallVec::new(),
        }
    }

    /// The symbols that occur in its sizes.
    pub fn symbols(&self) -> BTreeSet<Name> {
        self.dims().into_iter().flat_map(Dim::symbols).collect()
    }

    /// Whether a value of this type is, or holds, a forward.
    pub fn holds_forward(&self) -> bool {
        match self {
            Type::Forward(_) => true,
            Type::Tuple(parts) => parts.iter().any(Type::holds_forward),
            Type::List(part) => part.holds_forward(),
            Type::Tensor(_) | Type::Str | Type::Opaque => false,
        }
    }

    /// The bytes that a value of this type takes when it moves from one place to another; nothing for what cannot move.
    pub fn bytes(&self) -> Option<Dim> {
        match self {
            Type::Tensor(tensor) => Some(tensor.bytes()),
            Type::Tuple(parts) => parts.iter().try_fold(Dim::known(0), |sum, part| Some(sum + part.bytes()?)),
            Type::List(_) | Type::Str | Type::Opaque | Type::Forward(_) => None,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Tensor(tensor) => write!(out, "{tensor}"),
            Type::Tuple(parts) => {
                out.write_str("(")?;
                for (at, part) in parts.iter().enumerate() {
                    write!(out, "{}{part}", if at > 0 { ", " } else { "" })?;
                }
                out.write_str(")")
            }
            Type::List(part) => write!(out, "list<{part}>"),
            Type::Str => out.write_str("str"),
            Type::Opaque => out.write_str("opaque"),
            Type::Forward(ForwardType { model, batch, tokens, past }) => {
                write!(out, "forward<{model}, {batch}x{tokens}")?;
                if past.as_known() == Some(0) { out.write_str(">") } else { write!(out, " after {past}>") }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dims_have_one_normal_form() {
        let (b, t) = (Dim::symbol("B"), Dim::symbol("T"));
        assert_eq!(t.clone() + Dim::known(1) - Dim::known(1), t);
        assert_eq!(t.clone() * b.clone() * Dim::known(2) + b.clone() - b.clone(), Dim::known(2) * b.clone() * t.clone());
        assert_eq!((t.clone() - t.clone()).as_known(), Some(0));
        assert_eq!((Dim::known(2) * b.clone() * t.clone() + Dim::known(3) - t.clone()).to_string(), "2*B*T-T+3");
        assert_eq!((b.clone() * t.clone() * Dim::known(576)).exact_div(&(t.clone() * Dim::known(64))), Some(b.clone() * Dim::known(9)));
        assert_eq!((t.clone() + Dim::known(1)).exact_div(&t), None);
        assert_eq!((t.clone() + Dim::known(2)).substitute(&|name| (name == "T").then(|| Dim::known(7))), Dim::known(9));
        assert!((t.clone() + Dim::known(2)).at_least(3) && !(t - Dim::known(2)).at_least(0));
    }

    #[test]
    fn promotion_is_pytorchs() {
        use DType::*;
        assert_eq!(F16.promote(BF16), F32);
        assert_eq!(U8.promote(I32), I32);
        assert_eq!(I64.promote(F16), F16);
        assert_eq!(promote_operands([(F16, 2), (F32, 0)]), Some(F16));
        assert_eq!(promote_operands([(I64, 2), (F32, 0)]), Some(F32));
        assert_eq!(promote_operands([(Bool, 0), (U8, 0)]), Some(U8));
    }
}
