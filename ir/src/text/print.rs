//! From graphs to text.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
    sync::LazyLock,
};

use half::{bf16, f16};

use super::{
    Style,
    lex::{is_digits, is_identifier},
    literal::{quiet_nan, round},
};
use crate::{
    attr::{Attr, AttrKind, Float, Literal, Reduction, TensorLiteral},
    graph::{Body, Effect, EffectKind, Graph, Node, NodeId},
    op::{Op, OpKind},
    tensor::{Tensor, on_elements},
    types::{DType, Dim, Name, TensorType, Type},
    verify::{LoopId, Types},
};

/// Constants with more elements stand on a line of their own.
const MAX_INLINE: usize = 64;

/// Types stand in a column, but not further right than this for the sake of one long line.
const MAX_COLUMN: usize = 100;

/// Lists deeper than this are printed flat, after their type.
const MAX_LISTS: usize = 16;

/// The attributes of an operation by default, by place; nothing for those that must be given.
fn defaults(kind: OpKind) -> &'static [Option<Attr>] {
    static ALL: LazyLock<Vec<Vec<Option<Attr>>>> = LazyLock::new(|| {
        let of = |kind: &OpKind| {
            let decls = kind.attrs();
            // Optional attributes that are not given show their defaults.
            let mut required = |name: &'static str| {
                let decl = decls.iter().find(|decl| decl.name == name && !decl.optional)?;
                Some(match decl.kind {
                    AttrKind::Int => Attr::Int(0),
                    AttrKind::OptionalInt | AttrKind::OptionalFloat | AttrKind::OptionalDType | AttrKind::OptionalType => Attr::None,
                    AttrKind::Bool => Attr::Bool(false),
                    AttrKind::Float => Attr::Float(Float::new(0.0)),
                    AttrKind::Name => Attr::Name("".into()),
                    AttrKind::DType => Attr::DType(DType::F32),
                    AttrKind::Type => Attr::Type(Type::Str),
                    AttrKind::Ints => Attr::Ints(vec![]),
                    AttrKind::Dims => Attr::Dims(vec![]),
                    AttrKind::Literal => Attr::Literal(Literal::Str("".into())),
                    AttrKind::Body => Attr::Body(Body::default()),
                    AttrKind::Reduction => Attr::Reduction(Reduction::None),
                })
            };
            let attrs = Op::build(*kind, &mut required).map(|op| op.attrs()).unwrap_or_default();
            attrs.into_iter().zip(decls).map(|(attr, decl)| decl.optional.then_some(attr)).collect()
        };
        OpKind::ALL.iter().map(of).collect()
    });
    ALL.get(kind as usize).map_or(&[], |defaults| defaults)
}

pub(super) fn print(graph: &Graph, types: Option<&Types>, style: Style) -> String {
    let mut out = Output { text: String::with_capacity(64 * graph.len() + 64), line: 0, typed: vec![] };
    head(&mut out.text, graph);
    Printer::new(&mut out, graph, types, style, 1).statements(0);
    out.text.push_str("}\n");
    if style.align { align(&out.text, &out.typed) } else { out.text }
}

fn head(out: &mut String, graph: &Graph) {
    out.push_str("graph @");
    name(out, &graph.name);
    for (at, model) in graph.models.iter().enumerate() {
        out.push_str(if at == 0 { " models { " } else { ", " });
        name(out, &model.name);
        out.push_str(": ");
        string(out, &model.reference);
    }
    out.push_str(if graph.models.is_empty() { " {\n" } else { " } {\n" });
}

/// For each entry of the effect list, the value that is printed as its result, `%x = do …`: the first one that stands after
/// all that this entry and those before it need, and after the results of those before it.
fn results(graph: &Graph) -> Vec<Option<NodeId>> {
    let mut last = None;
    let last_use: Vec<Option<NodeId>> = graph.effects.iter().map(|effect| (last = effect.uses().max().max(last), last).1).collect();
    let mut results = vec![None; graph.effects.len()];
    let mut placed = 0;
    for (id, node) in graph.nodes() {
        let Op::EffectResult { entry } = node.op else { continue };
        let Some(at) = usize::try_from(entry).ok().filter(|at| (placed..results.len()).contains(at)) else { continue };
        if graph.effects[at].kind.has_result() && last_use[at] < Some(id) {
            results[at] = Some(id);
            placed = at + 1;
        }
    }
    results
}

/// The types that the program claims, where they are to be printed or must not be lost.
fn written_types<'g>(graph: &'g Graph, types: Option<&Types>) -> HashMap<NodeId, &'g Type> {
    let written = if types.is_none() { graph.written_types() } else { &[] };
    // Of several claims the first counts.
    written.iter().rev().map(|(id, ty, _)| (*id, ty)).collect()
}

/// Which constants stand in the place of the operand that is their only use.
///
/// An operand that is written in place becomes the node directly before its user, after the operands to the left of it
/// and their nodes. So from right to left, the operands in place must have the numbers directly below their user's.
fn inlined(graph: &Graph, written: &HashMap<NodeId, &Type>) -> Vec<bool> {
    let uses = graph.uses();
    let mut inlined = vec![false; graph.len()];
    for (id, node) in graph.nodes() {
        let mut next = id.index();
        for operand in node.operands.iter().rev() {
            if operand.index() + 1 != next || uses[operand.index()] != 1 || graph.label(*operand).is_some() || written.contains_key(operand)
            {
                continue;
            }
            let Op::Const { value } = &graph.node(*operand).op else { continue };
            let short = match value {
                Literal::Str(_) => true,
                Literal::Tensor(tensor) => {
                    tensor.shape().iter().try_fold(1usize, |n, &size| n.checked_mul(size)).is_some_and(|n| n <= MAX_INLINE)
                }
            };
            if short {
                next = operand.index();
                inlined[next] = true;
            }
        }
    }
    inlined
}

/// What stands after `%` for each node: its label where no other node has it, or a number that is no label.
fn names(graph: &Graph, inlined: &[bool]) -> Vec<PrintedName> {
    let labels: HashSet<&str> = graph.nodes().filter_map(|(id, _)| graph.label(id)).map(|label| &**label).collect();
    let mut counts: HashMap<&str, u32> = HashMap::new();
    let mut taken: HashSet<String> = HashSet::new();
    let mut number = 0u64;
    let name = |(id, _): (NodeId, &Node)| {
        let Some(label) = graph.label(id) else {
            if inlined[id.index()] {
                return PrintedName::Number(0);
            }
            while !labels.is_empty() && labels.contains(number.to_string().as_str()) {
                number += 1;
            }
            number += 1;
            return PrintedName::Number(number - 1);
        };
        let count = counts.entry(label).or_insert(0);
        *count += 1;
        if *count == 1 {
            return PrintedName::Label(label.clone());
        }
        loop {
            let name = format!("{label}_{count}");
            if !labels.contains(name.as_str()) && taken.insert(name.clone()) {
                return PrintedName::Label(name.into());
            }
            *count += 1;
        }
    };
    graph.nodes().map(name).collect()
}

enum PrintedName {
    Number(u64),
    Label(Name),
}

/// The text so far.
struct Output {
    text: String,
    /// Where the current line begins.
    line: usize,
    /// Where lines begin that have a type, and where the type does.
    typed: Vec<(usize, usize)>,
}

/// Prints a graph, or the body of a loop.
struct Printer<'g, 'o> {
    graph: &'g Graph,
    types: Option<&'g Types>,
    written: HashMap<NodeId, &'g Type>,
    names: Vec<PrintedName>,
    inlined: Vec<bool>,
    /// The values that stand for the results of effects.
    results: Vec<Option<NodeId>>,
    style: Style,
    /// How many bodies this one stands in, the program included.
    depth: usize,
    out: &'o mut Output,
}

impl<'g, 'o> Printer<'g, 'o> {
    fn new(out: &'o mut Output, graph: &'g Graph, types: Option<&'g Types>, style: Style, depth: usize) -> Printer<'g, 'o> {
        let written = written_types(graph, types);
        let inlined = if style.inline { inlined(graph, &written) } else { vec![false; graph.len()] };
        let names = names(graph, &inlined);
        Printer { graph, types, written, names, inlined, results: results(graph), style, depth, out }
    }

    /// Prints the nodes after the parameters, and the effects, each where the values that it needs are there first.
    fn statements(&mut self, params: usize) {
        let graph = self.graph;
        let mut next = self.effects(0, params.checked_sub(1).map(NodeId::new));
        for (id, node) in graph.nodes().skip(params) {
            if self.inlined[id.index()] {
                continue;
            }
            self.begin();
            self.value(id);
            self.out.text.push_str(" = ");
            match graph.effects.get(next) {
                Some(effect) if self.results[next] == Some(id) => {
                    self.effect(next, effect);
                    next += 1;
                }
                _ => {
                    self.operation(&node.op, &node.operands);
                    if let Op::Loop { body, .. } = &node.op {
                        self.body(body, self.types.and_then(|types| types.bodies.get(&LoopId::Node(id))), false);
                    }
                }
            }
            let ty = match self.types {
                Some(types) => types.nodes.get(id.index()),
                None => self.written.get(&id).copied(),
            };
            if let Some(ty) = ty {
                self.out.typed.push((self.out.line, self.out.text.len()));
                self.out.text.push_str("  : ");
                print_type(&mut self.out.text, ty);
            }
            self.out.text.push('\n');
            next = self.effects(next, Some(id));
        }
    }

    /// Begins a line.
    fn begin(&mut self) {
        self.out.line = self.out.text.len();
        self.out.text.extend(std::iter::repeat_n("  ", self.depth));
    }

    fn operation(&mut self, op: &Op, operands: &[NodeId]) {
        self.out.text.push_str(op.kind().name());
        if !operands.is_empty() || has_parentheses(op) {
            self.operands(operands);
        }
        attributes(&mut self.out.text, op);
    }

    fn operands(&mut self, operands: &[NodeId]) {
        self.out.text.push('(');
        for (at, operand) in operands.iter().enumerate() {
            self.out.text.push_str(if at > 0 { ", " } else { "" });
            match &self.graph.node(*operand).op {
                Op::Const { value } if self.inlined[operand.index()] => literal(&mut self.out.text, value),
                _ => self.value(*operand),
            }
        }
        self.out.text.push(')');
    }

    /// Prints the body of a loop: its parameters, its statements, and how it ends. `effects` is whether the loop may be there
    /// for its effects alone.
    fn body(&mut self, body: &Body, types: Option<&Types>, effects: bool) {
        let mut inside = Printer::new(self.out, body.graph(), types, self.style, self.depth + 1);
        inside.out.text.push_str(" (");
        for (id, ty) in body.params() {
            inside.out.text.push_str(if id.index() > 0 { ", " } else { "" });
            inside.value(id);
            if let Some(ty) = ty {
                inside.out.text.push_str(": ");
                print_type(&mut inside.out.text, ty);
            }
        }
        inside.out.text.push_str(") {\n");
        inside.statements(body.params().count());
        if let Some(until) = body.graph().until {
            inside.begin();
            inside.out.text.push_str("until ");
            inside.value(until);
            inside.out.text.push('\n');
        }
        if !effects || !body.graph().results.is_empty() {
            inside.begin();
            inside.out.text.push_str("yield");
            for (at, result) in body.graph().results.iter().enumerate() {
                inside.out.text.push_str(if at > 0 { ", " } else { " " });
                inside.value(*result);
            }
            inside.out.text.push('\n');
        }
        self.begin();
        self.out.text.push('}');
    }

    fn value(&mut self, id: NodeId) {
        self.out.text.push('%');
        match &self.names[id.index()] {
            PrintedName::Number(number) => push(&mut self.out.text, format_args!("{number}")),
            PrintedName::Label(label) => name(&mut self.out.text, label),
        }
    }

    /// Prints the effects from number `from` on that have no result and whose values are there with `id`; where that ends.
    fn effects(&mut self, from: usize, id: Option<NodeId>) -> usize {
        let mut next = from;
        let graph = self.graph;
        while let Some(effect) = graph.effects.get(next).filter(|effect| effect.uses().max() <= id)
            && self.results[next].is_none()
        {
            self.begin();
            self.effect(next, effect);
            self.out.text.push('\n');
            next += 1;
        }
        next
    }

    fn effect(&mut self, at: usize, effect: &Effect) {
        match &effect.kind {
            EffectKind::Save { name } => {
                self.out.text.push_str("save");
                self.plain_operands(effect);
                self.out.text.push_str(" as ");
                string(&mut self.out.text, name);
            }
            EffectKind::Log { label } => {
                self.out.text.push_str("log");
                if let Some(label) = label {
                    self.out.text.push(' ');
                    string(&mut self.out.text, label);
                    self.out.text.push(',');
                }
                self.plain_operands(effect);
            }
            EffectKind::Call { name, returns } => {
                self.out.text.push_str("do ");
                self.operation(&Op::Call { name: name.clone(), returns: Box::new(returns.clone()) }, &effect.operands);
            }
            EffectKind::Loop { trip, body } => {
                self.out.text.push_str("do ");
                let types = self.types.and_then(|types| types.bodies.get(&LoopId::Effect(at)));
                self.operation(&Op::Loop { trip: *trip, body: body.clone() }, &effect.operands);
                // Among the effects, a loop need not have a value.
                self.body(body, types, true);
            }
            EffectKind::Stop { reason } => {
                self.out.text.push_str("stop");
                if let Some(reason) = reason {
                    self.out.text.push(' ');
                    string(&mut self.out.text, reason);
                }
            }
        }
        if let Some(guard) = effect.guard {
            self.out.text.push_str(" if ");
            self.value(guard.condition);
            if let Some(other) = guard.otherwise {
                self.out.text.push_str(" else ");
                self.value(other);
            }
        }
    }

    fn plain_operands(&mut self, effect: &Effect) {
        for (at, operand) in effect.operands.iter().enumerate() {
            self.out.text.push_str(if at > 0 { ", " } else { " " });
            self.value(*operand);
        }
    }
}

/// Whether an operation without operands has an empty list of them.
fn has_parentheses(op: &Op) -> bool {
    op.kind().attrs().is_empty() || matches!(op, Op::Call { .. } | Op::Loop { .. })
}

/// Prints the attributes that do not have their default values.
fn attributes(out: &mut String, op: &Op) {
    let mut before = " {";
    let kind = op.kind();
    for ((attr, default), decl) in op.attrs().iter().zip(defaults(kind)).zip(kind.attrs()) {
        if default.as_ref() != Some(attr) && decl.kind != AttrKind::Body {
            out.push_str(before);
            out.push_str(decl.name);
            out.push_str(": ");
            attribute(out, attr, decl.name == "model");
            before = ", ";
        }
    }
    if before == ", " {
        out.push('}');
    }
}

fn attribute(out: &mut String, attr: &Attr, bare: bool) {
    match attr {
        Attr::None => out.push_str("none"),
        Attr::Int(value) => push(out, format_args!("{value}")),
        Attr::Bool(value) => push(out, format_args!("{value}")),
        Attr::Float(value) => float(out, DType::F64, value.get().to_bits()),
        Attr::Name(value) if bare => name(out, value),
        Attr::Name(value) => string(out, value),
        Attr::DType(dtype) => out.push_str(dtype.name()),
        Attr::Type(ty) => print_type(out, ty),
        Attr::Ints(values) => sequence(out, "[", values, "]", |out, value| push(out, format_args!("{value}"))),
        Attr::Dims(dims) => sequence(out, "[", dims, "]", |out, dim| push(out, format_args!("{dim}"))),
        Attr::Literal(value) => literal(out, value),
        // It stands after the attributes.
        Attr::Body(_) => {}
        Attr::Reduction(reduction) => out.push_str(reduction.name()),
    }
}

/// An operation on operands that are written already. Constants are their values.
pub(super) fn operation(op: &Op, operands: &[String]) -> String {
    let mut out = String::new();
    if let Op::Const { value } = op {
        literal(&mut out, value);
        return out;
    }
    out.push_str(op.kind().name());
    if !operands.is_empty() || has_parentheses(op) {
        push(&mut out, format_args!("({})", operands.join(", ")));
    }
    attributes(&mut out, op);
    out
}

/// Writing to a string does not fail.
fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).unwrap_or_default();
}

/// Moves the types into one column.
fn align(text: &str, typed: &[(usize, usize)]) -> String {
    let width = |(start, end): &(usize, usize)| text[*start..*end].chars().count();
    let column = typed.iter().map(width).filter(|&width| width <= MAX_COLUMN).max().unwrap_or(0);
    let mut out = String::with_capacity(text.len() + typed.len() * 16);
    let mut done = 0;
    for place in typed {
        out.push_str(&text[done..place.1]);
        done = place.1;
        out.extend(std::iter::repeat_n(' ', column.saturating_sub(width(place))));
    }
    out.push_str(&text[done..]);
    out
}

/// A name, in quotes where it must be.
fn name(out: &mut String, name: &str) {
    if is_identifier(name) { out.push_str(name) } else { string(out, name) }
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    let mut done = 0;
    for (at, character) in text.char_indices() {
        let escape = match character {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '\0' => "\\0",
            // What cannot be seen, or changes how what follows is seen.
            c if c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}') =>
            {
                ""
            }
            _ => continue,
        };
        out.push_str(&text[done..at]);
        done = at + character.len_utf8();
        out.push_str(escape);
        if escape.is_empty() {
            push(out, format_args!("\\u{{{:x}}}", character as u32));
        }
    }
    out.push_str(&text[done..]);
    out.push('"');
}

fn sequence<T>(out: &mut String, open: &str, items: &[T], close: &str, mut print: impl FnMut(&mut String, &T)) {
    out.push_str(open);
    for (at, item) in items.iter().enumerate() {
        out.push_str(if at > 0 { ", " } else { "" });
        print(out, item);
    }
    out.push_str(close);
}

fn literal(out: &mut String, value: &Literal) {
    match value {
        Literal::Str(text) => string(out, text),
        Literal::Tensor(tensor) => tensor_literal(out, tensor),
    }
}

fn tensor_literal(out: &mut String, tensor: &TensorLiteral) {
    let (shape, dtype) = (tensor.shape(), tensor.dtype());
    // Lists show the sizes up to the first that is 0, which must be the last then. There can be many empty lists.
    let zero = shape.iter().position(|&size| size == 0);
    let count = |sizes: &[usize]| sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    let few = |at: usize| at + 1 == shape.len() && count(&shape[..at]).is_some_and(|lists| lists <= MAX_INLINE);
    let lists = shape.len() <= MAX_LISTS && zero.is_none_or(few);
    let plain = matches!(dtype, DType::I64 | DType::F32 | DType::Bool) && zero.is_none();
    let elements = tensor.to_tensor();
    if !lists {
        print_tensor_type(out, &tensor.ty());
        let mut at = 0;
        out.push('(');
        each_element(&elements, |bits| {
            out.push_str(if at > 0 { ", " } else { "" });
            element(out, dtype, bits);
            at += 1;
        });
        out.push(')');
        return;
    }
    if !plain {
        out.push_str(dtype.name());
    }
    if shape.is_empty() {
        out.push_str(if plain { "" } else { "(" });
        each_element(&elements, |bits| element(out, dtype, bits));
        out.push_str(if plain { "" } else { ")" });
        return;
    }
    if zero.is_some() {
        empty_lists(out, shape);
        return;
    }
    nested_lists(out, &elements);
}

/// `[[1, 2], [3, 4]]`, or the only element of a tensor without dimensions. There must be elements.
pub(crate) fn nested_lists(out: &mut String, tensor: &Tensor) {
    // After how many elements lists end, the innermost first.
    let ends: Vec<usize> =
        tensor.shape().iter().rev().scan(1usize, |product, &size| (*product = product.saturating_mul(size), Some(*product)).1).collect();
    let mut at = 0;
    each_element(tensor, |bits| {
        let opened = ends.iter().take_while(|&&end| at % end == 0).count();
        out.push_str(if at > 0 { ", " } else { "" });
        (0..opened).for_each(|_| out.push('['));
        element(out, tensor.dtype(), bits);
        at += 1;
        let closed = ends.iter().take_while(|&&end| at % end == 0).count();
        (0..closed).for_each(|_| out.push(']'));
    });
}

/// `[[], []]` for sizes of which only the last is 0. Sizes are as many as the lists that are printed.
fn empty_lists(out: &mut String, shape: &[usize]) {
    out.push('[');
    if let [count, rest @ ..] = shape {
        for at in 0..*count {
            out.push_str(if at > 0 { ", " } else { "" });
            empty_lists(out, rest);
        }
    }
    out.push(']');
}

/// The bits of each element in turn.
fn each_element(tensor: &Tensor, mut f: impl FnMut(u64)) {
    trait Bits: Copy {
        fn bits(self) -> u64;
    }
    macro_rules! bits {
        ($($ty:ty: $value:ident => $bits:expr;)*) => { $(impl Bits for $ty { fn bits(self) -> u64 { let $value = self; $bits } })* };
    }
    bits! {
        f64: x => x.to_bits();
        f32: x => x.to_bits().into();
        f16: x => x.to_bits().into();
        bf16: x => x.to_bits().into();
        i64: x => x as u64;
        i32: x => i64::from(x) as u64;
        u8: x => x.into();
        bool: x => x.into();
    }
    on_elements!(tensor, values => values.iter().for_each(|value| f(value.bits())));
}

fn element(out: &mut String, dtype: DType, bits: u64) {
    match dtype {
        DType::Bool => out.push_str(if bits == 0 { "false" } else { "true" }),
        DType::I64 | DType::I32 | DType::U8 => push(out, format_args!("{}", bits as i64)),
        DType::F64 | DType::F32 | DType::F16 | DType::BF16 => float(out, dtype, bits),
    }
}

/// The shortest decimal that is read as these bits.
fn float(out: &mut String, dtype: DType, bits: u64) {
    let value = match dtype {
        DType::F32 => f64::from(f32::from_bits(bits as u32)),
        DType::F16 => f16::from_bits(bits as u16).to_f64_const(),
        DType::BF16 => bf16::from_bits(bits as u16).to_f64_const(),
        DType::F64 | DType::I64 | DType::I32 | DType::U8 | DType::Bool => f64::from_bits(bits),
    };
    if value.is_nan() {
        out.push_str("nan");
        if bits != quiet_nan(dtype) {
            push(out, format_args!("(0x{bits:0width$x})", width = 2 * dtype.size()));
        }
        return;
    }
    if dtype == DType::F32 {
        return push(out, format_args!("{:?}", f32::from_bits(bits as u32)));
    }
    if value.is_finite() && matches!(dtype, DType::F16 | DType::BF16) {
        // Five digits tell all numbers of f16 apart, four those of bf16.
        let start = out.len();
        for digits in 0..5 {
            push(out, format_args!("{value:.digits$e}"));
            let short: Option<f64> = out[start..].parse().ok();
            out.truncate(start);
            if let Some(short) = short.filter(|short| round(dtype, *short) == bits) {
                return push(out, format_args!("{short:?}"));
            }
        }
    }
    push(out, format_args!("{value:?}"));
}

fn print_type(out: &mut String, ty: &Type) {
    match ty {
        Type::Tensor(tensor) => print_tensor_type(out, tensor),
        Type::Tuple(parts) => sequence(out, "(", parts, ")", print_type),
        Type::List(part) => {
            out.push_str("list<");
            print_type(out, part);
            out.push('>');
        }
        Type::Str => out.push_str("str"),
        Type::Opaque => out.push_str("opaque"),
        Type::Forward(forward) => {
            out.push_str("forward<");
            name(out, &forward.model);
            out.push_str(", ");
            size(out, &forward.batch);
            out.push('x');
            size(out, &forward.tokens);
            if forward.past.as_known() != Some(0) {
                out.push_str(" after ");
                size(out, &forward.past);
            }
            out.push('>');
        }
    }
}

fn print_tensor_type(out: &mut String, ty: &TensorType) {
    out.push_str("tensor<");
    for dim in &ty.shape {
        size(out, dim);
        out.push('x');
    }
    out.push_str(ty.dtype.name());
    out.push('>');
}

/// A size inside a type: in parentheses unless it is one number or symbol.
fn size(out: &mut String, dim: &Dim) {
    let start = out.len();
    push(out, format_args!("{dim}"));
    if !is_digits(&out[start..]) && !is_identifier(&out[start..]) {
        out.insert(start, '(');
        out.push(')');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::literal::float_bits;

    #[test]
    fn floats_are_short() {
        let shown = |dtype, bits| {
            let mut out = String::new();
            float(&mut out, dtype, bits);
            out
        };
        assert_eq!(shown(DType::F16, f16::from_f32(0.1).to_bits().into()), "0.1");
        assert_eq!(shown(DType::BF16, bf16::from_f32(-1e-30).to_bits().into()), "-1e-30");
        assert_eq!(shown(DType::F32, 0x8000_0000), "-0.0");
        assert_eq!(shown(DType::F64, f64::INFINITY.to_bits()), "inf");
        assert_eq!(shown(DType::F32, 0x7fc0_0001), "nan(0x7fc00001)");
        for bits in 0..=u16::MAX {
            for dtype in [DType::F16, DType::BF16] {
                let text = shown(dtype, bits.into());
                assert!(text.starts_with("nan") || float_bits(dtype, &text) == Some(bits.into()), "{text} {bits:x}");
                assert!(text.len() < 20 || text.starts_with("nan"), "{text}");
            }
        }
    }
}
