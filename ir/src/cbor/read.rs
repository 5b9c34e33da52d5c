//! From CBOR to graphs. Every length is compared with what is left of the input before anything is done with it.

use std::collections::BTreeMap;

use ciborium_ll::{Decoder, Header, simple};

use super::{FORMAT, MAX_TYPE_NESTING, SELF_DESCRIBED, VERSION, is_cbor};
use crate::{
    attr::{Attr, AttrKind, Float, Literal, Reduction},
    code::Code,
    diagnostic::{Diagnostic, Span},
    graph::{Body, Effect, EffectKind, Graph, Guard, MAX_LOOP_NESTING, ModelDecl, NodeId, Operands},
    op::{AttrError, Op, OpKind},
    tensor::{Sizes, Tensor},
    types::{DType, Dim, ForwardType, MAX_FACTORS, MAX_SIZE, MAX_TERMS, Name, Shape, TensorType, Type},
    verify::Limits,
};

type Read<T> = Result<T, Diagnostic>;

pub(super) fn file(bytes: &[u8], limits: Limits) -> Read<Graph> {
    if !is_cbor(bytes) {
        return Err(Diagnostic::error(Code::E0015, "this is no program in CBOR: it does not begin with the bytes d9 d9 f7")
            .help("programs are text (`.ig`), or what `irc dump --format cbor` writes (`.igb`)"));
    }
    let mut reader = Reader { bytes, at: 0, newer: false, nodes: limits.nodes, limits, names: BTreeMap::new() };
    match reader.header()? {
        Header::Tag(SELF_DESCRIBED) => {}
        _ => return Err(reader.damaged(0, "the tag of CBOR")),
    }
    let at = reader.at;
    let len = reader.array("the envelope")?;
    let at_format = reader.at;
    if len == 0 || reader.text("the name of the format")? != FORMAT {
        return Err(reader.damaged(at_format, &format!("the format \"{FORMAT}\"")).note("it is CBOR, but of something else"));
    }
    if len < 4 {
        return Err(reader.damaged(at, "an envelope of four items"));
    }
    let (version, least) = (reader.uint("the version")?, reader.uint("the oldest reader")?);
    if least > VERSION {
        let message = format!("the program is in version {version} of the format, which needs a reader of version {least} or later");
        return Err(Diagnostic::error(Code::E0014, message)
            .note(format!("this reader is of version {VERSION}"))
            .help("read it with a newer `irc`, or print it as text there: `irc dump FILE.igb > FILE.ig`"));
    }
    reader.newer = version > VERSION;
    let graph = reader.graph(0)?;
    for _ in 4..len {
        if !reader.newer {
            return Err(reader.damaged(at, "an envelope of four items"));
        }
        reader.skip()?;
    }
    if reader.at < bytes.len() {
        return Err(reader.damaged(reader.at, "the end"));
    }
    Ok(graph)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether the file is of a later version than this reader, and may have what this reader is to skip.
    newer: bool,
    /// How many nodes there may still be.
    nodes: usize,
    limits: Limits,
    /// Names that were read, so that equal ones share their memory.
    names: BTreeMap<&'a str, Name>,
}

/// Items of CBOR.
impl<'a> Reader<'a> {
    fn damaged(&self, at: usize, expected: &str) -> Diagnostic {
        Diagnostic::error(Code::E0015, format!("the program is damaged at byte {at}: {expected} is expected there"))
    }

    fn header(&mut self) -> Read<Header> {
        let mut decoder = Decoder::from(&self.bytes[self.at..]);
        let header = decoder.pull().map_err(|_| self.damaged(self.at, "an item of CBOR"))?;
        self.at += decoder.offset();
        Ok(header)
    }

    /// The next item without going past it.
    fn peek(&mut self) -> Read<Header> {
        let at = self.at;
        let header = self.header();
        self.at = at;
        header
    }

    /// The next `len` bytes.
    fn take(&mut self, len: usize) -> Read<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..len).ok_or_else(|| self.damaged(self.at, &format!("a piece of {len} bytes")))?;
        self.at += len;
        Ok(taken)
    }

    fn text(&mut self, what: &str) -> Read<&'a str> {
        let at = self.at;
        let Header::Text(Some(len)) = self.header()? else { return Err(self.damaged(at, &format!("{what}, as text,"))) };
        std::str::from_utf8(self.take(len)?).map_err(|_| self.damaged(at, &format!("{what} in UTF-8")))
    }

    fn name(&mut self, what: &str) -> Read<Name> {
        let text = self.text(what)?;
        Ok(self.names.entry(text).or_insert_with(|| text.into()).clone())
    }

    fn uint(&mut self, what: &str) -> Read<u64> {
        let at = self.at;
        match self.header()? {
            Header::Positive(value) => Ok(value),
            _ => Err(self.damaged(at, &format!("{what}, a number,"))),
        }
    }

    fn int(&mut self, what: &str) -> Read<i64> {
        let at = self.at;
        let value = match self.header()? {
            Header::Positive(value) => i64::try_from(value).ok(),
            Header::Negative(value) => i64::try_from(value).ok().map(|value| !value),
            _ => None,
        };
        value.ok_or_else(|| self.damaged(at, &format!("{what}, a whole number of 64 bits,")))
    }

    /// The number of items of an array. Each takes a byte at least.
    fn array(&mut self, what: &str) -> Read<usize> {
        let at = self.at;
        match self.header()? {
            Header::Array(Some(len)) if len <= self.bytes.len() - self.at => Ok(len),
            _ => Err(self.damaged(at, &format!("{what}, as a list,"))),
        }
    }

    /// The number of keys of a map.
    fn map(&mut self, what: &str) -> Read<usize> {
        let at = self.at;
        match self.header()? {
            Header::Map(Some(len)) if len <= (self.bytes.len() - self.at) / 2 => Ok(len),
            _ => Err(self.damaged(at, &format!("{what}, as a map,"))),
        }
    }

    fn list<T>(&mut self, what: &str, mut item: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        // Grows as items come, whatever the length says.
        let mut items = vec![];
        for _ in 0..self.array(what)? {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Goes past an item of any kind.
    fn skip(&mut self) -> Read<()> {
        let mut left = 1usize;
        while left > 0 {
            let at = self.at;
            left -= 1;
            left = left.saturating_add(match self.header()? {
                Header::Positive(_) | Header::Negative(_) | Header::Float(_) | Header::Simple(_) => 0,
                Header::Tag(_) => 1,
                Header::Bytes(Some(len)) | Header::Text(Some(len)) => {
                    self.take(len)?;
                    0
                }
                Header::Array(Some(len)) => len,
                Header::Map(Some(len)) => len.saturating_mul(2),
                Header::Break | Header::Bytes(None) | Header::Text(None) | Header::Array(None) | Header::Map(None) => {
                    return Err(self.damaged(at, "an item of a definite length"));
                }
            });
        }
        Ok(())
    }
}

/// Graphs.
impl<'a> Reader<'a> {
    fn graph(&mut self, depth: usize) -> Read<Graph> {
        if depth > MAX_LOOP_NESTING {
            return Err(Diagnostic::error(Code::E4001, format!("loops are nested more than {MAX_LOOP_NESTING} deep")));
        }
        let mut graph = Graph::new("");
        let mut seen: Vec<&str> = vec![];
        for _ in 0..self.map("a graph")? {
            let at = self.at;
            let key = self.text("a key of a graph")?;
            if seen.contains(&key) {
                return Err(self.damaged(at, "each key of a graph once"));
            }
            // What speaks of nodes comes after them, so that it is known which there are.
            match key {
                "name" => graph.name = self.name("the name of the graph")?,
                "models" => graph.models = self.list("the models", Reader::model)?,
                "nodes" => {
                    for _ in 0..self.array("the nodes")? {
                        self.node(&mut graph, depth)?;
                    }
                }
                "effects" => {
                    for _ in 0..self.array("the effects")? {
                        let effect = self.effect(&graph, depth)?;
                        graph.effects.push(effect);
                    }
                }
                "results" => graph.results = self.list("the results", |reader| reader.id(&graph))?,
                "until" => graph.until = Some(self.id(&graph)?),
                "labels" => {
                    for _ in 0..self.array("the names of values")? {
                        self.pair("the name of a value")?;
                        let (id, label) = (self.id(&graph)?, self.name("the name of a value")?);
                        graph.set_label(id, label);
                    }
                }
                "types" => {
                    for _ in 0..self.array("the types of values")? {
                        self.pair("the type of a value")?;
                        let (id, ty) = (self.id(&graph)?, self.ty(0)?);
                        graph.write_type(id, ty, Span::None);
                    }
                }
                _ if self.newer => {
                    self.skip()?;
                    continue;
                }
                _ => return Err(self.damaged(at, "a key of a graph").note(format!("`{}` is none", shown(key)))),
            }
            seen.push(key);
        }
        Ok(graph)
    }

    fn pair(&mut self, what: &str) -> Read<()> {
        let at = self.at;
        if self.array(what)? == 2 { Ok(()) } else { Err(self.damaged(at, &format!("{what}, as a pair,"))) }
    }

    fn model(&mut self) -> Read<ModelDecl> {
        self.pair("a model")?;
        Ok(ModelDecl { name: self.name("the name of a model")?, reference: self.name("a model")?, span: Span::None })
    }

    /// A node that is in the graph already.
    fn id(&mut self, graph: &Graph) -> Read<NodeId> {
        let at = self.at;
        let index = usize::try_from(self.uint("the number of a node")?).unwrap_or(usize::MAX);
        match index < graph.len() {
            true => Ok(NodeId::new(index)),
            false => Err(self.damaged(at, "the number of a node before")),
        }
    }

    fn node(&mut self, graph: &mut Graph, depth: usize) -> Read<()> {
        let at = self.at;
        let Some(left) = self.nodes.checked_sub(1) else {
            return Err(Diagnostic::error(
                Code::E4001,
                format!("the program has more nodes than the {} that are allowed", self.limits.nodes),
            ));
        };
        self.nodes = left;
        let len = self.array("a node")?;
        if !(2..=3).contains(&len) {
            return Err(self.damaged(at, "a node of two or three items"));
        }
        let name = self.text("an operation")?;
        let kind = OpKind::from_name(name).ok_or_else(|| unknown_operation(name, at))?;
        let operands: Operands = self.list("operands", |reader| reader.id(graph))?.into();
        let mut attrs: BTreeMap<&str, Attr> = BTreeMap::new();
        if len == 3 {
            for _ in 0..self.map("attributes")? {
                let at = self.at;
                let key = self.text("an attribute")?;
                let decl = kind.attrs().iter().find(|decl| decl.name == key).ok_or_else(|| unknown_attribute(kind, key, at))?;
                let attr = self.attr(decl.kind, decl.name, depth)?;
                if attrs.insert(decl.name, attr).is_some() {
                    return Err(self.damaged(at, "each attribute once"));
                }
            }
        }
        let op = Op::build(kind, &mut |name| attrs.remove(name)).map_err(|error| match error {
            AttrError::Missing(name) => Diagnostic::error(Code::E0005, format!("`{}` at byte {at} has no attribute `{name}`", kind.name())),
            AttrError::Kind(name, expected) => self.damaged(at, &format!("`{name}`, {},", expected.describe())),
        })?;
        graph.add(op, operands, Span::None);
        Ok(())
    }

    fn effect(&mut self, graph: &Graph, depth: usize) -> Read<Effect> {
        let at = self.at;
        let len = self.array("an effect")?;
        if !(2..=3).contains(&len) {
            return Err(self.damaged(at, "an effect of two or three items"));
        }
        let kind = self.text("an effect")?;
        let fields: &[(&str, AttrKind)] = match kind {
            "save" => &[("name", AttrKind::Name)],
            "log" => &[("label", AttrKind::Name)],
            "call" => &[("name", AttrKind::Name), ("returns", AttrKind::Type)],
            "loop" => &[("trip", AttrKind::Int), ("body", AttrKind::Body)],
            "stop" => &[("reason", AttrKind::Name)],
            other => {
                let error = Diagnostic::error(Code::E0004, format!("there is no effect `{}` (at byte {at})", shown(other)));
                return Err(error.note("the effects of this version are `save`, `log`, `call`, `loop` and `stop`"));
            }
        };
        let operands: Operands = self.list("operands", |reader| reader.id(graph))?.into();
        let mut given: BTreeMap<&str, Attr> = BTreeMap::new();
        let mut guard = None;
        for _ in 0..if len == 3 { self.map("the fields of an effect")? } else { 0 } {
            let at = self.at;
            let key = self.text("a field of an effect")?;
            let known = fields.iter().find(|(name, _)| *name == key);
            let again = match known {
                Some((name, field)) => {
                    let attr = self.attr(*field, name, depth)?;
                    given.insert(name, attr).is_some()
                }
                None if key == "guard" => guard.replace(self.guard(graph)?).is_some(),
                None => {
                    return Err(Diagnostic::error(Code::E0005, format!("`{kind}` has no field `{}` (at byte {at})", shown(key))));
                }
            };
            if again {
                return Err(self.damaged(at, "each field of an effect once"));
            }
        }
        let missing = |field: &str| Diagnostic::error(Code::E0005, format!("`{kind}` at byte {at} has no field `{field}`"));
        let mut name = |field| match given.remove(field) {
            Some(Attr::Name(name)) => Some(name),
            _ => None,
        };
        let kind = match kind {
            "save" => EffectKind::Save { name: name("name").ok_or_else(|| missing("name"))? },
            "log" => EffectKind::Log { label: name("label") },
            "stop" => EffectKind::Stop { reason: name("reason") },
            "call" => {
                let name = name("name").ok_or_else(|| missing("name"))?;
                let Some(Attr::Type(returns)) = given.remove("returns") else { return Err(missing("returns")) };
                EffectKind::Call { name, returns }
            }
            _ => {
                let Some(Attr::Int(trip)) = given.remove("trip") else { return Err(missing("trip")) };
                let Some(Attr::Body(body)) = given.remove("body") else { return Err(missing("body")) };
                EffectKind::Loop { trip, body }
            }
        };
        Ok(Effect { kind, operands, guard, span: Span::None })
    }

    fn guard(&mut self, graph: &Graph) -> Read<Guard> {
        let at = self.at;
        match self.list("a guard", |reader| reader.id(graph))?[..] {
            [condition] => Ok(Guard { condition, otherwise: None }),
            [condition, otherwise] => Ok(Guard { condition, otherwise: Some(otherwise) }),
            _ => Err(self.damaged(at, "a guard of one or two values")),
        }
    }
}

/// Attributes and types.
impl<'a> Reader<'a> {
    fn attr(&mut self, kind: AttrKind, name: &str, depth: usize) -> Read<Attr> {
        let optional = |kind: AttrKind| match kind {
            AttrKind::OptionalInt => Some(AttrKind::Int),
            AttrKind::OptionalFloat => Some(AttrKind::Float),
            AttrKind::OptionalDType => Some(AttrKind::DType),
            AttrKind::OptionalType => Some(AttrKind::Type),
            AttrKind::Int
            | AttrKind::Bool
            | AttrKind::Float
            | AttrKind::Name
            | AttrKind::DType
            | AttrKind::Type
            | AttrKind::Ints
            | AttrKind::Dims
            | AttrKind::Literal
            | AttrKind::Body
            | AttrKind::Reduction => None,
        };
        if let Some(inner) = optional(kind) {
            if matches!(self.peek()?, Header::Simple(simple::NULL)) {
                self.header()?;
                return Ok(Attr::None);
            }
            return self.attr(inner, name, depth);
        }
        let at = self.at;
        let what = format!("`{name}`");
        Ok(match kind {
            AttrKind::Int | AttrKind::OptionalInt => Attr::Int(self.int(&what)?),
            AttrKind::Bool => match self.header()? {
                Header::Simple(simple::FALSE) => Attr::Bool(false),
                Header::Simple(simple::TRUE) => Attr::Bool(true),
                _ => return Err(self.damaged(at, &format!("{what}, true or false,"))),
            },
            AttrKind::Float | AttrKind::OptionalFloat => match self.header()? {
                Header::Float(value) => Attr::Float(Float::new(value)),
                _ => return Err(self.damaged(at, &format!("{what}, a floating point number,"))),
            },
            AttrKind::Name => Attr::Name(self.name(&what)?),
            AttrKind::DType | AttrKind::OptionalDType => Attr::DType(self.dtype()?),
            AttrKind::Type | AttrKind::OptionalType => Attr::Type(self.ty(0)?),
            AttrKind::Reduction => {
                let reduction = Reduction::from_name(self.text(&what)?);
                Attr::Reduction(reduction.ok_or_else(|| self.damaged(at, &format!("{what}, {},", kind.describe())))?)
            }
            AttrKind::Ints => Attr::Ints(self.list(&what, |reader| reader.int("a number"))?),
            AttrKind::Dims => Attr::Dims(self.list(&what, Reader::dim)?),
            AttrKind::Literal => Attr::Literal(self.literal()?),
            AttrKind::Body => {
                let body = Body::new(self.graph(depth + 1)?);
                Attr::Body(body.map_err(|error| error.note(format!("this is the body of a loop at byte {at}")))?)
            }
        })
    }

    fn literal(&mut self) -> Read<Literal> {
        let at = self.at;
        if matches!(self.peek()?, Header::Text(_)) {
            return Ok(Literal::Str(self.name("a text")?));
        }
        if self.array("a tensor")? != 3 {
            return Err(self.damaged(at, "a tensor of element type, shape and bytes"));
        }
        let dtype = self.dtype()?;
        let shape: Sizes = self.list("a shape", |reader| reader.uint("a size"))?.into_iter().map(|size| size as usize).collect();
        let at = self.at;
        let Header::Bytes(Some(len)) = self.header()? else { return Err(self.damaged(at, "the bytes of a tensor")) };
        let bytes = self.take(len)?;
        let tensor = Tensor::from_le_bytes(dtype, &shape, bytes);
        tensor.map(|tensor| Literal::from(&tensor)).ok_or_else(|| self.damaged(at, "as many bytes as the shape needs"))
    }

    fn dtype(&mut self) -> Read<DType> {
        let at = self.at;
        let name = self.text("an element type")?;
        DType::from_name(name).ok_or_else(|| self.damaged(at, "an element type").note(format!("`{}` is none", shown(name))))
    }

    fn dim(&mut self) -> Read<Dim> {
        let at = self.at;
        if !matches!(self.peek()?, Header::Array(_)) {
            let size = self.int("a size")?;
            return if size.unsigned_abs() <= MAX_SIZE { Ok(Dim::known(size)) } else { Err(self.damaged(at, "a size of at most 2^40")) };
        }
        let terms = self.array("a size")?;
        let (mut sum, mut total) = (Dim::known(0), 0u64);
        for _ in 0..terms {
            let symbols = self.array("a term of a size")?;
            if terms > MAX_TERMS || symbols == 0 || symbols > MAX_FACTORS + 1 {
                return Err(self.damaged(at, "a size of fewer terms"));
            }
            let factor = self.int("a factor")?;
            total = total.saturating_add(factor.unsigned_abs());
            if total > MAX_SIZE {
                return Err(self.damaged(at, "a size of at most 2^40"));
            }
            let mut product = Dim::known(factor);
            for _ in 1..symbols {
                let at = self.at;
                let symbol = self.name("a symbol")?;
                if !Dim::is_symbol(&symbol) {
                    return Err(self.damaged(at, "a symbol of upper-case letters").note(format!("`{}` is none", shown(&symbol))));
                }
                product = product * Dim::symbol(symbol);
            }
            sum = sum + product;
        }
        Ok(sum)
    }

    fn ty(&mut self, depth: usize) -> Read<Type> {
        let at = self.at;
        if depth > MAX_TYPE_NESTING {
            return Err(Diagnostic::error(Code::E4001, format!("types are nested more than {MAX_TYPE_NESTING} deep")));
        }
        if matches!(self.peek()?, Header::Text(_)) {
            return match self.text("a type")? {
                "str" => Ok(Type::Str),
                "opaque" => Ok(Type::Opaque),
                other => Err(self.damaged(at, "a type").note(format!("`{}` is none", shown(other)))),
            };
        }
        let len = self.array("a type")?;
        let kind = if len == 0 { "" } else { self.text("a type")? };
        match (kind, len) {
            ("tensor", 2..) => {
                let dtype = self.dtype()?;
                let mut shape = Shape::new();
                for _ in 2..len {
                    shape.push(self.dim()?);
                }
                Ok(Type::Tensor(TensorType { dtype, shape }))
            }
            ("tuple", 1..) => {
                let mut parts = vec![];
                for _ in 1..len {
                    parts.push(self.ty(depth + 1)?);
                }
                Ok(Type::Tuple(parts.into()))
            }
            ("list", 2) => Ok(Type::List(self.ty(depth + 1)?.into())),
            ("forward", 5) => Ok(Type::Forward(ForwardType {
                model: self.name("the name of a model")?,
                batch: self.dim()?,
                tokens: self.dim()?,
                past: self.dim()?,
            })),
            _ => Err(self.damaged(at, "a type").note(format!("`{}` of {len} items is none", shown(kind)))),
        }
    }
}

fn unknown_operation(name: &str, at: usize) -> Diagnostic {
    let error = Diagnostic::error(Code::E0004, format!("there is no operation `{}` (at byte {at})", shown(name)));
    let error = error.suggest(shown(name), OpKind::ALL.iter().map(|kind| kind.name()));
    error.note("a program that was written by a newer version may use operations that this one does not have")
}

fn unknown_attribute(kind: OpKind, name: &str, at: usize) -> Diagnostic {
    let error = Diagnostic::error(Code::E0005, format!("`{}` has no attribute `{}` (at byte {at})", kind.name(), shown(name)));
    error.suggest(shown(name), kind.attrs().iter().map(|decl| decl.name))
}

/// A piece of the input for a message, cut where it is long.
fn shown(text: &str) -> &str {
    text.char_indices().nth(60).map_or(text, |(at, _)| &text[..at])
}
