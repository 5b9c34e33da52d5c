//! What a program is, whoever wrote it: its canonical form, and the hash of that.
//!
//! Two frontends name values differently, write them in another order, and leave behind values that nothing asks for. None of
//! this is the program:
//!
//! ```
//! use irc_ir::{canonical::content_hash, text};
//!
//! let hash = |text| Ok::<_, irc_ir::diagnostic::Diagnostics>(content_hash(&text::parse(text).into_result()?));
//! let one = hash(r#"graph @a models { m: "toy" } { %f = forward([[1]]) {model: m}  %x = 2  save read(%f) {hook: "h"} as "h" }"#)?;
//! let other = hash(r#"graph @b models { other: "toy" } { save read(forward([[1]]) {model: other}) {hook: "h"} as "h" }"#)?;
//! assert_eq!(one, other);
//! assert_ne!(one, hash(r#"graph @a models { m: "toy" } { save read(forward([[2]]) {model: m}) {hook: "h"} as "h" }"#)?);
//! # Ok::<(), irc_ir::diagnostic::Diagnostics>(())
//! ```
//!
//! What counts: the operations with their attributes and operands, the effects in their order with their names and guards,
//! and what the models are found by. What does not: the name of the program, names of values, its own names for models,
//! places, claimed types, the order of values, values that nothing asks for, models that nothing uses.
//!
//! Nothing is computed or merged, and no law is applied: `add(x, y)` is not `add(y, x)`, and one constant that is used twice
//! is not two. That is for the passes, whose results may get better while the hash of a program stays what it is.

use std::{collections::BTreeMap, fmt};

use sha2::{Digest, Sha256};

use crate::{
    attr::Attr,
    cbor,
    diagnostic::Span,
    graph::{Body, Effect, EffectKind, Graph, ModelDecl, NodeId},
    op::Op,
    types::{ForwardType, Name, Type},
};

/// The SHA-256 of a program's canonical form; printed as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The hash of a program as it stands: of texts where its prompts are texts, of token ids where they are bound to them.
///
/// It is the SHA-256 of the [CBOR](crate::cbor) of [`canonical`], so it changes with the version of that format.
pub fn content_hash(graph: &Graph) -> ContentHash {
    ContentHash(Sha256::digest(cbor::encode(&canonical(graph))).into())
}

/// The canonical form of a program: it means the same, and is equal for all programs that differ in nothing that counts.
///
/// Values stand in the order in which effects, results and the end of a loop ask for them, operands from left to right, each
/// before its users; the parameters of a body come first. Models are called `0`, `1` and so on in the order of their first
/// use. The form verifies where the program does.
pub fn canonical(graph: &Graph) -> Graph {
    let mut models = ModelNames { declared: &graph.models, names: BTreeMap::new(), used: vec![] };
    let mut new = reordered(graph, &mut models);
    new.models = models.used;
    new
}

fn reordered(graph: &Graph, models: &mut ModelNames<'_>) -> Graph {
    let mut order = Order { graph, new: Graph::new(""), moved: vec![None; graph.len()] };
    for (id, node) in graph.nodes() {
        // They stand first, also those that nothing asks for: a loop gives them to its body all the same.
        if matches!(node.op, Op::Param { .. }) {
            order.place(id, models);
        }
    }
    for effect in &graph.effects {
        let effect = Effect { span: Span::None, ..effect.map(|id| order.place(id, models)) };
        let kind = match effect.kind {
            EffectKind::Call { name, returns } => EffectKind::Call { name, returns: models.in_type(&returns) },
            EffectKind::Loop { trip, body } => EffectKind::Loop { trip, body: models.in_body(&body) },
            kind @ (EffectKind::Save { .. } | EffectKind::Log { .. } | EffectKind::Stop { .. }) => kind,
        };
        order.new.effects.push(Effect { kind, ..effect });
    }
    let results = graph.results.iter().map(|id| order.place(*id, models)).collect();
    let until = graph.until.map(|id| order.place(id, models));
    let mut new = order.new;
    (new.results, new.until) = (results, until);
    new
}

struct Order<'g> {
    graph: &'g Graph,
    new: Graph,
    /// The new number of each value that has its place.
    moved: Vec<Option<NodeId>>,
}

impl Order<'_> {
    /// Gives a value its place after all that it needs, without recursion: programs may be deep.
    fn place(&mut self, wanted: NodeId, models: &mut ModelNames<'_>) -> NodeId {
        let mut open = vec![(wanted, 0)];
        while let Some((id, at)) = open.pop() {
            let node = self.graph.node(id);
            match node.operands.get(at) {
                _ if self.moved[id.index()].is_some() => {}
                Some(operand) => open.extend([(id, at + 1), (*operand, 0)]),
                None => {
                    let operands: Vec<NodeId> = node.operands.iter().filter_map(|operand| self.moved[operand.index()]).collect();
                    self.moved[id.index()] = Some(self.new.add(models.in_op(&node.op), operands, Span::None));
                }
            }
        }
        self.moved[wanted.index()].unwrap_or(wanted)
    }
}

/// What models are called in the canonical form.
struct ModelNames<'g> {
    declared: &'g [ModelDecl],
    names: BTreeMap<Name, Name>,
    used: Vec<ModelDecl>,
}

impl ModelNames<'_> {
    fn name(&mut self, old: &Name) -> Name {
        if let Some(name) = self.names.get(old) {
            return name.clone();
        }
        let name: Name = match self.declared.iter().find(|decl| decl.name == *old) {
            Some(decl) => {
                let name: Name = self.used.len().to_string().into();
                self.used.push(ModelDecl { name: name.clone(), reference: decl.reference.clone(), span: Span::None });
                name
            }
            // No declared model has this name then.
            None => format!("?{old}").into(),
        };
        self.names.insert(old.clone(), name.clone());
        name
    }

    /// The operation under the new names. An attribute `model` is the name of a model.
    fn in_op(&mut self, op: &Op) -> Op {
        let decls = op.kind().attrs();
        let mut attrs: Vec<Option<Attr>> = op
            .attrs()
            .into_iter()
            .zip(decls)
            .map(|(attr, decl)| {
                Some(match attr {
                    Attr::Name(name) if decl.name == "model" => Attr::Name(self.name(&name)),
                    Attr::Type(ty) => Attr::Type(self.in_type(&ty)),
                    Attr::Body(body) => Attr::Body(self.in_body(&body)),
                    attr => attr,
                })
            })
            .collect();
        let mut get = |name: &'static str| attrs[decls.iter().position(|decl| decl.name == name)?].take();
        // Each attribute is of its kind, since it was.
        Op::build(op.kind(), &mut get).unwrap_or_else(|_| op.clone())
    }

    fn in_body(&mut self, body: &Body) -> Body {
        // What was a body stays one: the parameters come first, and there are as many results.
        Body::new(reordered(body.graph(), self)).unwrap_or_else(|_| body.clone())
    }

    fn in_type(&mut self, ty: &Type) -> Type {
        match ty {
            Type::Tuple(parts) => Type::Tuple(parts.iter().map(|part| self.in_type(part)).collect()),
            Type::List(part) => Type::List(self.in_type(part).into()),
            Type::Forward(forward) => Type::Forward(ForwardType { model: self.name(&forward.model), ..forward.clone() }),
            Type::Tensor(_) | Type::Str | Type::Opaque => ty.clone(),
        }
    }
}
