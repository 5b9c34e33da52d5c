//! The types of loops.
//!
//! A loop carries values from one iteration to the next. Their sizes may change on the way: a parameter of the body can
//! declare a type with symbols, such as `forward<m, 1xT after P>`, and each iteration has its own numbers for them. What
//! comes out is checked against the declared types, so that the numbers of the next iteration follow from those of this
//! one. Symbols mean something inside their body only.
//!
//! **Zero.** Inference takes a symbol for a size of at least 1. One that begins with 0, as the past of a first forward
//! does, is inside the body written as the symbol less one: [`Parameters::inside`], and [`Parameters::outside`] back.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    code::Code,
    diagnostic::Diagnostic,
    graph::{Body, NodeId},
    op::Op,
    types::{DType, Dim, Name, Type},
};

/// How often a loop may run.
pub const MAX_TRIP: i64 = 1 << 20;

/// How many sizes of a loop may change.
const MAX_SYMBOLS: usize = 64;

/// What symbols stand for.
type Binding = BTreeMap<Name, Dim>;

/// The parameters of a body, given the operands of its loop.
pub(crate) struct Parameters {
    /// Their types as they are declared; where they are not, those of the operands.
    types: Vec<Type>,
    /// The symbols that they declare: those that stand for other numbers in each iteration.
    pub(crate) own: BTreeSet<Name>,
    /// What all symbols stand for in the first iteration.
    first: Binding,
    /// Those of the body's own that may stand for 0.
    from_zero: BTreeSet<Name>,
}

pub(crate) fn misplaced_parameter() -> Diagnostic {
    Diagnostic::error(Code::E3007, "`param` stands for what a loop gives its body; here is no such value")
        .note("the parameters of a body are its first nodes: the number of the iteration, then one for each operand")
}

pub(crate) fn no_such_result(entry: i64) -> Diagnostic {
    Diagnostic::error(Code::E3006, format!("entry {entry} of the effect list has no result that could be used here"))
        .note("calls and loops have results, and each is named once")
}

impl Parameters {
    /// The parameters of a body on operands of these types.
    pub(crate) fn new(trip: i64, body: &Body, operands: &[Type]) -> Result<Parameters, Diagnostic> {
        if !(0..=MAX_TRIP).contains(&trip) {
            let message = format!("a loop runs between 0 and {MAX_TRIP} times, not {trip} times");
            return Err(Diagnostic::error(if trip < 0 { Code::E1008 } else { Code::E4001 }, message));
        }
        let declared: Vec<Option<&Type>> = body.params().map(|(_, ty)| ty).collect();
        if declared.len() != operands.len() + 1 {
            let names = many(declared.len(), "parameter");
            let message = format!("the loop has {}, but its body {names}", many(operands.len(), "operand"));
            return Err(Diagnostic::error(Code::E3007, message)
                .note("the body has a parameter for the number of the iteration, then one for each operand"));
        }
        let number = Type::tensor(DType::I64, []);
        let place = |at: usize| body.graph().span(NodeId::new(at));
        if let Some(wrong) = declared[0].filter(|ty| **ty != number) {
            return Err(Diagnostic::error(Code::E3007, format!("the number of the iteration is {number}, not {wrong}")).or_label(place(0)));
        }
        let types = [number].into_iter().chain(declared[1..].iter().zip(operands).map(|(ty, operand)| ty.unwrap_or(operand).clone()));
        let types: Vec<Type> = types.collect();
        // A type that is not declared is the same in every iteration: its symbols stand for themselves.
        let mut first = Binding::new();
        for (_, operand) in declared[1..].iter().zip(operands).filter(|(ty, _)| ty.is_none()) {
            operand.symbols().into_iter().for_each(|symbol| drop(first.insert(symbol.clone(), Dim::symbol(symbol))));
        }
        let around = first.len();
        for (at, (ty, operand)) in types[1..].iter().zip(operands).enumerate() {
            if !matches(ty, operand, &mut first) {
                let error =
                    Diagnostic::error(Code::E3004, format!("operand {} of the loop is {operand}, but the body expects {ty}", at + 1));
                return Err(error.or_label(place(at + 1)));
            }
        }
        if first.len() - around > MAX_SYMBOLS {
            let message = format!("{} sizes change in the loop; {MAX_SYMBOLS} are allowed", first.len() - around);
            return Err(Diagnostic::error(Code::E4001, message));
        }
        let own: BTreeSet<Name> = declared.iter().flatten().flat_map(|ty| ty.symbols()).collect();
        let from_zero = first.iter().filter(|(symbol, dim)| own.contains(*symbol) && !dim.at_least(1)).map(|(symbol, _)| symbol.clone());
        Ok(Parameters { from_zero: from_zero.collect(), types, own, first })
    }

    /// The type of a parameter inside the body.
    pub(crate) fn ty(&self, index: i64) -> Result<Type, Diagnostic> {
        let ty = usize::try_from(index).ok().and_then(|at| self.types.get(at));
        ty.map(|ty| self.inside(ty)).ok_or_else(misplaced_parameter)
    }

    /// The symbols that the body can name.
    pub(crate) fn knows(&self, symbol: &Name) -> bool {
        self.first.contains_key(symbol)
    }

    /// Whether sizes are written in another way inside the body.
    pub(crate) fn shifts(&self) -> bool {
        !self.from_zero.is_empty()
    }

    /// What a symbol is inside the body, if it is not itself.
    fn symbol_inside(&self, symbol: &str) -> Option<Dim> {
        self.from_zero.contains(symbol).then(|| Dim::symbol(symbol) - Dim::known(1))
    }

    /// A type as it is written inside the body.
    pub(crate) fn inside(&self, ty: &Type) -> Type {
        ty.substitute(&|symbol| self.symbol_inside(symbol))
    }

    /// An operation as it is written inside the body.
    pub(crate) fn operation_inside(&self, op: &Op) -> Op {
        op.substitute(&|symbol| self.symbol_inside(symbol))
    }

    /// A type inside the body as the program writes it, but for the symbols that `not` names.
    pub(crate) fn outside(&self, ty: &Type, not: &BTreeSet<Name>) -> Type {
        let shifted = |symbol: &str| self.from_zero.contains(symbol) && !not.contains(symbol);
        ty.substitute(&|symbol| shifted(symbol).then(|| Dim::symbol(symbol) + Dim::known(1)))
    }

    /// The type of a loop whose body has results of these types, as the program writes them: those after the last
    /// iteration, or, where a guard may keep the loop from running, what it would have begun with. `fresh` makes the symbols
    /// for sizes that depend on when the loop ends.
    pub(crate) fn result(
        &self,
        (trip, guarded): (i64, bool),
        body: &Body,
        operands: &[Type],
        results: &[Type],
        fresh: &dyn Fn(&str) -> Dim,
    ) -> Result<Type, Diagnostic> {
        let carried = results.len();
        // What is not declared, or not carried, stays what it is.
        let same =
            |symbol: &&Name| !self.own.contains(*symbol) || self.types[1 + carried..].iter().any(|ty| ty.symbols().contains(*symbol));
        let mut step: Binding = self.first.keys().filter(same).map(|symbol| (symbol.clone(), Dim::symbol(symbol.clone()))).collect();
        for (at, (ty, result)) in self.types[1..].iter().zip(results).enumerate() {
            if !matches(ty, result, &mut step) {
                return Err(wrong_result(body, at, ty, result));
            }
        }
        let may_be_zero = |size: &Dim| !size.substitute(&|symbol| self.symbol_inside(symbol)).at_least(1);
        if let Some((symbol, size)) = step.iter().find(|(symbol, size)| !self.from_zero.contains(*symbol) && may_be_zero(size)) {
            let message = format!("the size `{symbol}` is `{size}` in the next iteration, which may be 0");
            return Err(Diagnostic::error(Code::E3004, message).note("a size that is at least 1 at first has to stay so"));
        }
        if trip == 0 {
            return Ok(Type::Tuple(operands[..carried].into()));
        }
        let after = |now: &Binding| Type::Tuple(results.iter().map(|ty| ty.substitute(&|symbol| now.get(symbol).cloned())).collect());
        if !guarded && (body.graph().until.is_none() || trip == 1) {
            return Ok(after(&then(&self.first, &repeated(&step, trip as u64 - 1))));
        }
        let mut stable = stable(&self.first, &step);
        if guarded {
            stable.retain(|symbol, size| self.first.get(symbol) == Some(size));
        }
        let begins_at_zero = |symbol: &str| guarded && self.from_zero.contains(symbol);
        let ended = |symbol: &str| match (stable.get(symbol), step.get(symbol)) {
            (Some(size), _) => Some(size.clone()),
            (None, Some(size)) if may_be_zero(size) || begins_at_zero(symbol) => Some(fresh(symbol) - Dim::known(1)),
            (None, _) => Some(fresh(symbol)),
        };
        Ok(Type::Tuple(self.types[1..=carried].iter().map(|ty| ty.substitute(&ended)).collect()))
    }
}

/// What the symbols that parameters of a body declare stand for in an iteration, counted from 0, if no end comes before: what goes in
/// has the types `operands`, what comes out `results`. Nothing where that is not known.
pub(crate) fn sizes_in(body: &Body, operands: &[Type], results: &[Type], iteration: u64) -> Option<BTreeMap<Name, Dim>> {
    let declared = || body.params().skip(1).map(|(_, ty)| ty);
    let mut first = Binding::new();
    let mut step = Binding::new();
    for (at, (ty, operand)) in declared().zip(operands).enumerate() {
        let Some(ty) = ty else { continue };
        if !matches(ty, operand, &mut first) {
            return None;
        }
        match results.get(at) {
            Some(result) if !matches(ty, result, &mut step) => return None,
            Some(_) => {}
            None => step.extend(ty.symbols().into_iter().map(|symbol| (symbol.clone(), Dim::symbol(symbol.clone())))),
        }
    }
    Some(then(&first, &repeated(&step, iteration)))
}

/// What symbols stand for after `first` and then `second`.
fn then(first: &Binding, second: &Binding) -> Binding {
    let after = |size: &Dim| size.substitute(&|symbol| first.get(symbol).cloned());
    second.iter().map(|(symbol, size)| (symbol.clone(), after(size))).collect()
}

/// What symbols stand for after so many steps, by repeated squaring.
fn repeated(step: &Binding, mut count: u64) -> Binding {
    let mut all: Binding = step.keys().map(|symbol| (symbol.clone(), Dim::symbol(symbol.clone()))).collect();
    let mut power = step.clone();
    while count > 0 {
        if count & 1 == 1 {
            all = then(&all, &power);
        }
        count >>= 1;
        if count > 0 {
            power = then(&power, &power);
        }
    }
    all
}

/// What those symbols stand for that are the same after every iteration.
fn stable(first: &Binding, step: &Binding) -> Binding {
    let mut stable = then(first, step);
    loop {
        let before = stable.clone();
        stable.retain(|symbol, size| {
            let next = step.get(symbol).filter(|next| next.symbols().iter().all(|of| before.contains_key(of)));
            next.is_some_and(|next| next.substitute(&|symbol| before.get(symbol).cloned()) == *size)
        });
        if stable.len() == before.len() {
            return stable;
        }
    }
}

fn wrong_result(body: &Body, at: usize, expected: &Type, found: &Type) -> Diagnostic {
    let graph = body.graph();
    let message = format!("the body gives {found} where the next iteration begins with {expected}");
    let error = Diagnostic::error(Code::E3004, message).or_label(graph.span(graph.results[at]));
    match (expected.as_tensor(), found.as_tensor()) {
        (Some(a), Some(b)) if a.dtype != b.dtype => error.help(format!("cast it: `cast(…) {{dtype: {}}}`", a.dtype)),
        _ if !same_form(expected, found) => error,
        (None, _) => error.help("a size that changes is a symbol in the type of the parameter, such as `%f: forward<m, 1xT after P>`"),
        _ => error.help("a size that changes is a symbol in the type of the parameter, such as `%x: tensor<1xNxf32>`"),
    }
}

/// Whether `given` is `ty` for some values of its symbols; those that are not bound yet are bound.
fn matches(ty: &Type, given: &Type, binding: &mut Binding) -> bool {
    if !same_form(ty, given) {
        return false;
    }
    let (expected, given) = (ty.dims(), given.dims());
    for (expected, given) in expected.iter().zip(&given) {
        if let Some(symbol) = expected.as_symbol() {
            binding.entry(symbol.clone()).or_insert_with(|| (*given).clone());
        }
    }
    let bound = |symbol: &str| binding.get(symbol).cloned();
    let known = |dim: &Dim| dim.symbols().iter().all(|symbol| binding.contains_key(symbol));
    expected.iter().zip(&given).all(|(expected, given)| known(expected) && expected.substitute(&bound) == **given)
}

/// Whether two types differ in sizes only, and not in those of lists.
fn same_form(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Tensor(a), Type::Tensor(b)) => a.dtype == b.dtype && a.rank() == b.rank(),
        (Type::Tuple(a), Type::Tuple(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same_form(a, b)),
        (Type::List(a), Type::List(b)) => a == b,
        (Type::Forward(a), Type::Forward(b)) => a.model == b.model,
        (Type::Str, Type::Str) | (Type::Opaque, Type::Opaque) => true,
        (Type::Tensor(_) | Type::Tuple(_) | Type::List(_) | Type::Forward(_) | Type::Str | Type::Opaque, _) => false,
    }
}

fn many(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding<const N: usize>(sizes: [(&str, Dim); N]) -> Binding {
        sizes.into_iter().map(|(symbol, size)| (symbol.into(), size)).collect()
    }

    #[test]
    fn repeated_steps_are_single_steps() {
        let (n, m) = (Dim::symbol("N"), Dim::symbol("M"));
        let step = binding([("N", n.clone() + m), ("M", Dim::known(2) * Dim::symbol("K")), ("K", Dim::symbol("K"))]);
        let first = binding([("N", Dim::known(3)), ("M", Dim::known(1)), ("K", Dim::symbol("T"))]);
        let mut now = first.clone();
        for count in 0..20 {
            assert_eq!(then(&first, &repeated(&step, count)), now, "{count}");
            now = then(&now, &step);
        }
        let grown = then(&binding([("N", Dim::known(5))]), &repeated(&binding([("N", n + Dim::known(1))]), 1 << 20));
        assert_eq!(grown["N"], Dim::known(5 + (1 << 20)));
    }

    #[test]
    fn what_is_stable_never_changes() {
        let symbol = Dim::symbol;
        // N and M are the same after one iteration and after two, K grows, and takes them along later.
        let step =
            binding([("N", symbol("M")), ("M", symbol("K")), ("K", Dim::known(2) * symbol("K")), ("T", Dim::known(1)), ("L", symbol("T"))]);
        let first = binding([("N", Dim::known(1)), ("M", Dim::known(1)), ("K", Dim::known(1)), ("T", Dim::known(1)), ("L", Dim::known(7))]);
        assert_eq!(stable(&first, &step), binding([("T", Dim::known(1)), ("L", Dim::known(1))]));
    }
}
