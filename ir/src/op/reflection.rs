//! What follows from the rows of the table: names, attributes by name, and building an operation from them.

use std::collections::BTreeSet;

use super::{Op, OpKind};
use crate::{
    attr::{Attr, AttrKind},
    types::{Dim, Name},
};

/// How many operands an operation takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arity {
    /// This many.
    Exactly(usize),
    /// This many or more.
    AtLeast(usize),
    /// At least and at most this many: the last ones may be left out.
    Between(usize, usize),
}

impl Arity {
    /// Whether `count` operands are right.
    pub const fn accepts(self, count: usize) -> bool {
        match self {
            Arity::Exactly(n) => count == n,
            Arity::AtLeast(n) => count >= n,
            Arity::Between(least, most) => least <= count && count <= most,
        }
    }
}

/// Where an operation may stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// In programs and inside models.
    Anywhere,
    /// Only in programs: operations on forwards.
    Program,
    /// Only in the bodies of loops: their parameters.
    Body,
    /// Only inside models: inputs, weights and hooks.
    Model,
}

/// An attribute of an operation, as the table declares it.
#[derive(Clone, Copy, Debug)]
pub struct AttrDecl {
    /// Its name in program text.
    pub name: &'static str,
    /// What it can be.
    pub kind: AttrKind,
    /// What it means.
    pub doc: &'static str,
    /// Whether it may be left out.
    pub optional: bool,
}

/// What is wrong with the attributes given to [`Op::build`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AttrError {
    /// A required attribute was not given.
    Missing(&'static str),
    /// An attribute of another kind was given.
    Kind(&'static str, AttrKind),
}

macro_rules! ops {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal ($arity:expr, $scope:ident) {
        $($(#[doc = $field_doc:literal])+ $field:ident: $ty:ty $(= $default:expr)?,)*
    })*) => {
        /// An operation with its attributes. Operands are beside it, in the graph.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Op { $($(#[doc = $doc])+ $variant { $($(#[doc = $field_doc])+ $field: $ty,)* },)* }

        /// An operation without its attributes.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum OpKind { $($(#[doc = $doc])+ $variant,)* }

        impl OpKind {
            /// Every operation, in the order of the table.
            pub const ALL: &'static [OpKind] = &[$(OpKind::$variant,)*];

            /// The name in program text.
            pub const fn name(self) -> &'static str { match self { $(OpKind::$variant => $text,)* } }

            /// What the operation does, first line and details.
            pub const fn doc(self) -> &'static str { match self { $(OpKind::$variant => concat!($($doc, "\n",)+),)* } }

            /// How many operands it takes.
            pub const fn arity(self) -> Arity { match self { $(OpKind::$variant => $arity,)* } }

            /// Where it may stand.
            pub const fn scope(self) -> Scope { match self { $(OpKind::$variant => Scope::$scope,)* } }

            /// Its attributes, in the order in which they are printed.
            pub const fn attrs(self) -> &'static [AttrDecl] {
                match self {
                    $(OpKind::$variant => &[$(AttrDecl {
                        name: stringify!($field),
                        kind: <$ty as AttrValue>::KIND,
                        doc: concat!($($field_doc, "\n",)+),
                        optional: ops!(@optional $($default)?),
                    },)*],)*
                }
            }
        }

        impl Op {
            /// The operation without its attributes.
            pub const fn kind(&self) -> OpKind { match self { $(Op::$variant { .. } => OpKind::$variant,)* } }

            /// The attributes in the order of [`OpKind::attrs`].
            pub fn attrs(&self) -> Vec<Attr> {
                match self { $(Op::$variant { $($field,)* } => vec![$($field.to_attr(),)*],)* }
            }

            /// The operation of this kind with the attributes that `get` gives by name; those that it does not give
            /// take their defaults.
            ///
            /// # Errors
            /// If a required attribute is missing, or one is of the wrong kind.
            pub fn build(kind: OpKind, get: &mut dyn FnMut(&'static str) -> Option<Attr>) -> Result<Op, AttrError> {
                Ok(match kind {
                    $(OpKind::$variant => Op::$variant { $($field: match get(stringify!($field)) {
                        Some(attr) => <$ty as AttrValue>::from_attr(attr)
                            .ok_or(AttrError::Kind(stringify!($field), <$ty as AttrValue>::KIND))?,
                        None => ops!(@default stringify!($field) $(, $default)?),
                    },)* },)*
                })
            }

            /// Whether the attribute at `index` has its default value and need not be printed.
            pub fn is_default(&self, index: usize) -> bool {
                let decl = self.kind().attrs()[index];
                let all = self.attrs();
                decl.optional && Op::build(self.kind(), &mut |name| {
                    let at = self.kind().attrs().iter().position(|decl| decl.name == name)?;
                    (at != index).then(|| all[at].clone())
                }).is_ok_and(|op| op == *self)
            }
        }
    };
    (@optional) => { false };
    (@optional $default:expr) => { true };
    (@default $name:expr) => { return Err(AttrError::Missing($name)) };
    (@default $name:expr, $default:expr) => { $default };
}

impl Op {
    /// The symbols of sizes in its attributes that mean something around it: in shapes, and in the type of what a function
    /// returns.
    pub fn symbols(&self) -> BTreeSet<Name> {
        let symbols = |attr: Attr| match attr {
            Attr::Dims(dims) => dims.iter().flat_map(Dim::symbols).collect(),
            Attr::Type(ty) => ty.symbols(),
            _ => BTreeSet::new(),
        };
        if self.kind().has_sizes() { self.attrs().into_iter().flat_map(symbols).collect() } else { BTreeSet::new() }
    }

    /// The operation with each of [`Op::symbols`] replaced by what `value` gives for it, where it gives something.
    pub fn substitute(&self, value: &dyn Fn(&str) -> Option<Dim>) -> Op {
        let kind = self.kind();
        if !kind.has_sizes() {
            return self.clone();
        }
        let attrs = self.attrs().into_iter().map(|attr| match attr {
            Attr::Dims(dims) => Attr::Dims(dims.iter().map(|dim| dim.substitute(value)).collect()),
            Attr::Type(ty) => Attr::Type(ty.substitute(value)),
            attr => attr,
        });
        let mut attrs = kind.attrs().iter().zip(attrs);
        // Attributes are asked for in their order, and of the kinds that they had.
        Op::build(kind, &mut |_| attrs.next().map(|(_, attr)| attr)).unwrap_or_else(|_| self.clone())
    }
}

impl OpKind {
    /// Whether there are sizes among its attributes.
    fn has_sizes(self) -> bool {
        self.attrs().iter().any(|decl| matches!(decl.kind, AttrKind::Dims | AttrKind::Type))
    }

    /// The operation called `name` in program text.
    pub fn from_name(name: &str) -> Option<OpKind> {
        OpKind::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reflection_round_trips() {
        let op = Op::Slice { dim: 1, start: Some(-1), end: None, step: 1 };
        let attrs = op.attrs();
        let again = Op::build(op.kind(), &mut |name| {
            let at = op.kind().attrs().iter().position(|decl| decl.name == name)?;
            (!op.is_default(at)).then(|| attrs[at].clone())
        });
        assert_eq!(again, Ok(op.clone()));
        assert_eq!((0..4).map(|at| op.is_default(at)).collect::<Vec<_>>(), [false, false, true, true]);
        assert_eq!(Op::build(OpKind::Slice, &mut |_| None), Err(AttrError::Missing("dim")));
        for kind in OpKind::ALL {
            assert_eq!(OpKind::from_name(kind.name()), Some(*kind));
        }
    }
}
