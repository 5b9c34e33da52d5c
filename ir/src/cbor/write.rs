//! From graphs to CBOR.

use ciborium_ll::{Encoder, Header, simple};

use super::{FORMAT, LEAST, SELF_DESCRIBED, VERSION};
use crate::{
    attr::{Attr, Literal},
    graph::{Effect, EffectKind, Graph, Node, NodeId},
    types::{DType, Dim, ForwardType, Type},
};

pub(super) fn file(graph: &Graph) -> Vec<u8> {
    let mut writer = Writer(vec![]);
    writer.push(Header::Tag(SELF_DESCRIBED));
    writer.array(4);
    writer.text(FORMAT);
    writer.push(Header::Positive(VERSION));
    writer.push(Header::Positive(LEAST));
    writer.graph(graph);
    writer.0
}

struct Writer(Vec<u8>);

/// Items of CBOR. Writing to memory does not fail.
impl Writer {
    fn push(&mut self, header: Header) {
        Encoder::from(&mut self.0).push(header).unwrap_or_default();
    }

    fn array(&mut self, len: usize) {
        self.push(Header::Array(Some(len)));
    }

    fn map(&mut self, len: usize) {
        self.push(Header::Map(Some(len)));
    }

    fn text(&mut self, text: &str) {
        Encoder::from(&mut self.0).text(text, None).unwrap_or_default();
    }

    fn int(&mut self, value: i64) {
        self.push(match u64::try_from(value) {
            Ok(value) => Header::Positive(value),
            // -1 - n stands for n: the bits of the other sign.
            Err(_) => Header::Negative(!value as u64),
        });
    }

    fn id(&mut self, id: NodeId) {
        self.push(Header::Positive(id.index() as u64));
    }

    fn ids(&mut self, ids: &[NodeId]) {
        self.array(ids.len());
        ids.iter().for_each(|id| self.id(*id));
    }
}

impl Writer {
    fn graph(&mut self, graph: &Graph) {
        let labels: Vec<_> = graph.nodes().filter_map(|(id, _)| Some((id, graph.label(id)?))).collect();
        let there = [
            !graph.name.is_empty(),
            !graph.models.is_empty(),
            !graph.is_empty(),
            !graph.effects.is_empty(),
            !graph.results.is_empty(),
            graph.until.is_some(),
            !labels.is_empty(),
            !graph.written_types().is_empty(),
        ];
        self.map(there.iter().filter(|there| **there).count());
        if !graph.name.is_empty() {
            self.text("name");
            self.text(&graph.name);
        }
        if !graph.models.is_empty() {
            self.text("models");
            self.array(graph.models.len());
            for model in &graph.models {
                self.array(2);
                self.text(&model.name);
                self.text(&model.reference);
            }
        }
        if !graph.is_empty() {
            self.text("nodes");
            self.array(graph.len());
            graph.nodes().for_each(|(_, node)| self.node(node));
        }
        if !graph.effects.is_empty() {
            self.text("effects");
            self.array(graph.effects.len());
            graph.effects.iter().for_each(|effect| self.effect(effect));
        }
        if !graph.results.is_empty() {
            self.text("results");
            self.ids(&graph.results);
        }
        if let Some(until) = graph.until {
            self.text("until");
            self.id(until);
        }
        if !labels.is_empty() {
            self.text("labels");
            self.array(labels.len());
            for (id, label) in labels {
                self.array(2);
                self.id(id);
                self.text(label);
            }
        }
        if !graph.written_types().is_empty() {
            self.text("types");
            self.array(graph.written_types().len());
            for (id, ty, _) in graph.written_types() {
                self.array(2);
                self.id(*id);
                self.ty(ty);
            }
        }
    }

    fn node(&mut self, node: &Node) {
        let kind = node.op.kind();
        let attrs = node.op.attrs().into_iter().zip(kind.attrs()).enumerate();
        let given: Vec<(&str, Attr)> =
            attrs.filter(|(at, (_, decl))| !decl.optional || !node.op.is_default(*at)).map(|(_, (attr, decl))| (decl.name, attr)).collect();
        self.array(if given.is_empty() { 2 } else { 3 });
        self.text(kind.name());
        self.ids(&node.operands);
        if !given.is_empty() {
            self.map(given.len());
            for (name, attr) in given {
                self.text(name);
                self.attr(&attr);
            }
        }
    }

    fn effect(&mut self, effect: &Effect) {
        let (name, fields): (&str, Vec<(&str, Attr)>) = match &effect.kind {
            EffectKind::Save { name } => ("save", vec![("name", Attr::Name(name.clone()))]),
            EffectKind::Log { label } => ("log", label.iter().map(|label| ("label", Attr::Name(label.clone()))).collect()),
            EffectKind::Call { name, returns } => {
                ("call", vec![("name", Attr::Name(name.clone())), ("returns", Attr::Type(returns.clone()))])
            }
            EffectKind::Loop { trip, body } => ("loop", vec![("trip", Attr::Int(*trip)), ("body", Attr::Body(body.clone()))]),
            EffectKind::Stop { reason } => ("stop", reason.iter().map(|reason| ("reason", Attr::Name(reason.clone()))).collect()),
        };
        let count = fields.len() + usize::from(effect.guard.is_some());
        self.array(if count == 0 { 2 } else { 3 });
        self.text(name);
        self.ids(&effect.operands);
        if count > 0 {
            self.map(count);
        }
        for (name, attr) in fields {
            self.text(name);
            self.attr(&attr);
        }
        if let Some(guard) = effect.guard {
            self.text("guard");
            let ids: Vec<NodeId> = [guard.condition].into_iter().chain(guard.otherwise).collect();
            self.ids(&ids);
        }
    }

    fn attr(&mut self, attr: &Attr) {
        match attr {
            Attr::None => self.push(Header::Simple(simple::NULL)),
            Attr::Int(value) => self.int(*value),
            Attr::Bool(value) => self.push(Header::Simple(if *value { simple::TRUE } else { simple::FALSE })),
            Attr::Float(value) => self.push(Header::Float(value.get())),
            Attr::Name(name) => self.text(name),
            Attr::DType(dtype) => self.dtype(*dtype),
            Attr::Type(ty) => self.ty(ty),
            Attr::Ints(values) => {
                self.array(values.len());
                values.iter().for_each(|value| self.int(*value));
            }
            Attr::Dims(dims) => {
                self.array(dims.len());
                dims.iter().for_each(|dim| self.dim(dim));
            }
            Attr::Literal(Literal::Str(text)) => self.text(text),
            Attr::Literal(Literal::Tensor(tensor)) => {
                self.array(3);
                self.dtype(tensor.dtype());
                self.array(tensor.shape().len());
                tensor.shape().iter().for_each(|size| self.push(Header::Positive(*size as u64)));
                Encoder::from(&mut self.0).bytes(tensor.bytes(), None).unwrap_or_default();
            }
            Attr::Body(body) => self.graph(body.graph()),
            Attr::Reduction(reduction) => self.text(reduction.name()),
        }
    }

    fn dtype(&mut self, dtype: DType) {
        self.text(dtype.name());
    }

    fn dim(&mut self, dim: &Dim) {
        if let Some(size) = dim.as_known() {
            return self.int(size);
        }
        let terms = dim.products();
        self.array(terms.len());
        for (factor, symbols) in terms {
            self.array(1 + symbols.len());
            self.int(factor);
            symbols.iter().for_each(|symbol| self.text(symbol));
        }
    }

    fn ty(&mut self, ty: &Type) {
        match ty {
            Type::Str => self.text("str"),
            Type::Opaque => self.text("opaque"),
            Type::Tensor(tensor) => {
                self.array(2 + tensor.rank());
                self.text("tensor");
                self.dtype(tensor.dtype);
                tensor.shape.iter().for_each(|dim| self.dim(dim));
            }
            Type::Tuple(parts) => {
                self.array(1 + parts.len());
                self.text("tuple");
                parts.iter().for_each(|part| self.ty(part));
            }
            Type::List(part) => {
                self.array(2);
                self.text("list");
                self.ty(part);
            }
            Type::Forward(ForwardType { model, batch, tokens, past }) => {
                self.array(5);
                self.text("forward");
                self.text(model);
                [batch, tokens, past].into_iter().for_each(|dim| self.dim(dim));
            }
        }
    }
}
