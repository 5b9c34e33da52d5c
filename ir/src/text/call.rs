//! Reading operands: uses of values, literals, and calls with their attributes.

use std::sync::LazyLock;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::{
    lex::{Kind, Token},
    parse::{MAX_NESTING, Parser, Read, Reported, Value, quote},
};
use crate::{
    attr::{Attr, AttrKind, Reduction},
    code::Code,
    diagnostic::Diagnostic,
    graph::Operands,
    op::{AttrDecl, AttrError, Op, OpKind},
    types::DType,
};

/// The operation called so. Programs are long and the table is not: a map instead of a search.
pub(super) fn operation(name: &str) -> Option<OpKind> {
    static BY_NAME: LazyLock<HashMap<&str, OpKind>> = LazyLock::new(|| OpKind::ALL.iter().map(|kind| (kind.name(), *kind)).collect());
    BY_NAME.get(name).copied()
}

/// What some operations and element types are called elsewhere.
const SYNONYMS: &[(&str, &str)] = &[
    ("where", "select"),
    ("concat", "cat"),
    ("concatenate", "cat"),
    ("view", "reshape"),
    ("swapaxes", "transpose"),
    ("moveaxis", "permute"),
    ("movedim", "permute"),
    ("masked_fill", "select"),
    ("take_along_dim", "gather"),
    ("take", "index_by"),
    ("index_add", "index_put"),
    ("index_copy", "index_put"),
    ("argwhere", "nonzero"),
    ("narrow", "slice"),
    ("slice_scatter", "update"),
    ("broadcast_to", "expand"),
    ("ravel", "flatten"),
    ("tile", "repeat"),
    ("outer", "einsum"),
    ("tensordot", "einsum"),
    ("len", "length"),
    ("bmm", "matmul"),
    ("mm", "matmul"),
    ("dot", "matmul"),
    ("to", "cast"),
    ("constant", "const"),
    ("zeros", "full"),
    ("ones", "full"),
    ("identity", "eye"),
    ("rand", "random_uniform"),
    ("randn", "random_normal"),
    ("randint", "random_int"),
    ("multiply", "mul"),
    ("subtract", "sub"),
    ("divide", "div"),
    ("true_divide", "div"),
    ("floor_divide", "floor_div"),
    ("mod", "remainder"),
    ("power", "pow"),
    ("negative", "neg"),
    ("absolute", "abs"),
    ("ln", "log"),
    ("arcsin", "asin"),
    ("arccos", "acos"),
    ("arctan", "atan"),
    ("arctan2", "atan2"),
    ("clip", "clamp"),
    ("hardtanh", "clamp"),
    ("fix", "trunc"),
    ("swish", "silu"),
    ("logsigmoid", "log_sigmoid"),
    ("logical_and", "and"),
    ("logical_or", "or"),
    ("logical_xor", "xor"),
    ("logical_not", "not"),
    ("amax", "max"),
    ("amin", "min"),
    ("argsort", "sort"),
    ("vector_norm", "norm"),
    ("variance", "var"),
    ("load", "read"),
    ("set", "write"),
    ("float64", "f64"),
    ("double", "f64"),
    ("float32", "f32"),
    ("float", "f32"),
    ("float16", "f16"),
    ("half", "f16"),
    ("bfloat16", "bf16"),
    ("int64", "i64"),
    ("long", "i64"),
    ("int", "i64"),
    ("int32", "i32"),
    ("uint8", "u8"),
    ("byte", "u8"),
];

/// Adds what was probably meant by a word that is not one of `names`.
pub(super) fn suggest<'n>(error: Diagnostic, wrong: &str, names: impl Iterator<Item = &'n str> + Clone) -> Diagnostic {
    let known = SYNONYMS.iter().find(|(other, name)| other.eq_ignore_ascii_case(wrong) && names.clone().any(|known| known == *name));
    match known {
        Some((_, name)) => error.help(format!("it is called `{name}` here")),
        None if wrong.len() <= 100 => error.suggest(wrong, names),
        None => error,
    }
}

/// What a token is called in a message.
fn describe(parser: &Parser<'_>, token: Token) -> String {
    match token.kind {
        Kind::Str => "a string".to_owned(),
        Kind::Value => "a value".to_owned(),
        Kind::Punct(b'[') => "a list".to_owned(),
        _ => quote(parser.text_of(token)),
    }
}

impl<'a> Parser<'a> {
    /// Reads an operand, or the right-hand side of a definition. `expected` says what of these belongs here.
    pub(super) fn operand(&mut self, expected: &str) -> Read<Value> {
        let start = self.token;
        match start.kind {
            // The next statement is not meant here.
            _ if start.first && self.begins_statement() => Err(self.unexpected(expected)),
            Kind::Value => {
                self.advance();
                self.value_of(start)
            }
            Kind::Ident if self.is_misplaced() => Err(self.unexpected(expected)),
            Kind::Ident if !self.begins_literal() => self.call(),
            Kind::Punct(b'[') if self.ahead() == Kind::Str => self.texts(),
            Kind::Ident | Kind::Number | Kind::Str | Kind::Punct(b'[') => {
                let value = self.literal()?;
                let span = self.span_from(start.start);
                Ok(Some(self.graph.add(Op::Const { value }, [], span)))
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    /// Reads `["The Eiffel Tower", "Buckingham Palace"]`, which is a tuple of texts: the prompts of one forward.
    fn texts(&mut self) -> Read<Value> {
        let open = self.advance();
        let mut texts = Operands::new();
        let mut more = true;
        while more {
            let start = self.token.start;
            if self.token.kind != Kind::Str {
                return Err(self.unexpected("a string"));
            }
            let value = self.literal()?;
            let span = self.span_from(start);
            texts.push(self.graph.add(Op::Const { value }, [], span));
            more = self.separator(b']', open, "the strings")?;
        }
        let span = self.span_from(open.start);
        Ok(Some(self.graph.add(Op::Tuple {}, texts, span)))
    }

    /// Whether the current word is not meant as an operand: a keyword, or a word that begins a line where no bracket is
    /// open and is no operation.
    fn is_misplaced(&self) -> bool {
        let text = self.text_of(self.token);
        matches!(text, "as" | "if" | "else") || (self.token.first && self.depth == 0 && !self.begins_literal() && operation(text).is_none())
    }

    fn call(&mut self) -> Read<Value> {
        let name = self.token;
        let text = self.text_of(name);
        let Some(kind) = operation(text) else { return Err(self.unknown_operation()) };
        let parts = self.parts(kind, name, false)?;
        let span = self.span_from(name.start);
        Ok(parts.map(|(op, operands)| self.graph.add(op, operands, span)))
    }

    /// Reads a call from its operation on, `name`; nothing where something in it is bad. `effects` says whether `do` stands
    /// before it.
    pub(super) fn parts(&mut self, kind: OpKind, name: Token, effects: bool) -> Read<Option<(Op, Operands)>> {
        let text = self.text_of(name);
        self.depth += 1;
        if self.depth > MAX_NESTING {
            let error = Diagnostic::error(Code::E4001, format!("calls are nested more than {MAX_NESTING} deep"));
            let error = error.label(self.span(name), "this call is too deep");
            return Err(self.report(error.help("give inner values names: `%x = …`")));
        }
        self.advance();
        let mut operands = Operands::new();
        let mut bad = false;
        let open = self.token;
        if self.eat(b'(') {
            let mut more = !self.eat(b')');
            while more {
                match self.operand("an operand")? {
                    Some(operand) => operands.push(operand),
                    None => bad = true,
                }
                more = self.separator(b')', open, "the operands")?;
            }
        } else if matches!(open.kind, Kind::Value | Kind::Number | Kind::Str | Kind::Punct(b'[')) && !open.first {
            let error = self.unexpected_diagnostic("`(`");
            let shown = if open.end - open.start > 40 { "…" } else { self.text_of(open) };
            return Err(self.report(error.help(format!("operands stand in parentheses: `{text}({shown})`"))));
        }
        let op = self.attributes(kind, name, effects)?;
        self.depth -= 1;
        // What uses a bad value is bad, and silently so.
        Ok(op.filter(|_| !bad).map(|op| (op, operands)))
    }

    fn unknown_operation(&mut self) -> Reported {
        let name = self.token;
        let text = self.text_of(name);
        let next = self.ahead();
        if text == "do" {
            let error = Diagnostic::error(Code::E0001, "`do` stands at the beginning of a statement, or after `=`");
            let error = error.label(self.span(name), "not an operand");
            return self.report(error.help("give the result a name: `%x = do call(…)`"));
        }
        if matches!(next, Kind::Punct(b'=' | b':')) && !name.first {
            let error = Diagnostic::error(Code::E0001, format!("expected an operand, found the attribute {}", quote(text)));
            let error = error.label(self.span(name), "not an operand");
            return self.report(error.help(format!(
                "attributes stand in braces after the operands: `(…) {{{}: …}}`",
                if text.len() > 60 { "…" } else { text }
            )));
        }
        let error = Diagnostic::error(Code::E0004, format!("there is no operation {}", quote(text)));
        let error = error.label(self.span(name), "not an operation");
        let error = if text == "None" || text == "none" || text == "True" || text == "False" {
            error.help("the literals are numbers, `true`, `false`, lists of them, and strings")
        } else if !matches!(next, Kind::Punct(b'(' | b'{')) && self.is_value(text) {
            error.help(format!("the value is called `%{text}`"))
        } else {
            suggest(error, text, OpKind::ALL.iter().map(|kind| kind.name()))
        };
        self.report(error)
    }

    /// Reads `{dim: 1, start: -1}`, which may be missing where nothing needs to be said, and the body of a loop: nothing where
    /// that is bad.
    fn attributes(&mut self, kind: OpKind, name: Token, effects: bool) -> Read<Option<Op>> {
        let decls = kind.attrs();
        let mut given: SmallVec<[(&'static str, Token, Option<Attr>); 4]> = SmallVec::new();
        let open = self.token;
        if self.eat(b'{') {
            let mut more = !self.eat(b'}');
            while more {
                let at = self.token;
                if at.kind != Kind::Ident {
                    return Err(self.unexpected("the name of an attribute"));
                }
                let Some(decl) = named(kind).find(|decl| decl.name == self.text_of(at)) else {
                    return Err(self.unknown_attribute(kind));
                };
                if let Some((_, first, _)) = given.iter().find(|(name, ..)| *name == decl.name) {
                    let error = Diagnostic::error(Code::E0005, format!("the attribute `{}` is given twice", decl.name))
                        .label(self.span(at), "given again here")
                        .label(self.span(*first), "given first here");
                    return Err(self.report(error));
                }
                self.advance();
                if !self.is(b':') {
                    let error = self.unexpected_diagnostic("`:`");
                    return Err(self.report(error.help(format!("write `{}: …`", decl.name))));
                }
                self.advance();
                let value = self.attribute(kind, decl)?;
                given.push((decl.name, at, Some(value)));
                more = self.separator(b'}', open, "the attributes")?;
            }
        }
        if let Some(decl) = decls.iter().find(|decl| decl.kind == AttrKind::Body) {
            let at = self.token;
            let Some(body) = self.body(name, effects)? else { return Ok(None) };
            given.push((decl.name, at, Some(Attr::Body(body))));
        }
        let mut get = |name: &'static str| given.iter_mut().find(|(given, ..)| *given == name).and_then(|(.., value)| value.take());
        Op::build(kind, &mut get).map(Some).map_err(|wrong| {
            let error = match wrong {
                AttrError::Missing(attr) => {
                    let error = Diagnostic::error(Code::E0005, format!("`{}` needs the attribute `{attr}`", kind.name()));
                    let error = error.label(self.span(name), format!("`{attr}` is missing"));
                    match decls.iter().find(|decl| decl.name == attr) {
                        Some(decl) => {
                            let example = if decl.kind == AttrKind::Name && decl.name != "model" { "\"…\"" } else { "…" };
                            error.note(format!("`{attr}`: {}", gist(decl))).help(format!("add `{{{attr}: {example}}}`"))
                        }
                        None => error,
                    }
                }
                AttrError::Kind(attr, expected) => {
                    let message = format!("`{attr}` of `{}` takes {}", kind.name(), expected.describe());
                    Diagnostic::error(Code::E0005, message).label(self.span(name), "")
                }
            };
            self.report(error)
        })
    }

    fn unknown_attribute(&mut self, kind: OpKind) -> Reported {
        let text = self.text_of(self.token);
        let error = Diagnostic::error(Code::E0005, format!("`{}` has no attribute {}", kind.name(), quote(text)));
        let error = error.label(self.span(self.token), format!("not an attribute of `{}`", kind.name()));
        let names = named(kind).map(|decl| decl.name);
        let near = suggest(error.clone(), text, names.clone());
        let error = if !near.help.is_empty() {
            near
        } else if kind.attrs().is_empty() {
            error.help(format!("`{}` takes no attributes", kind.name()))
        } else {
            error.help(format!("its attributes are {}", names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")))
        };
        self.report(error)
    }

    /// Reads the value of an attribute, which is of one kind.
    fn attribute(&mut self, kind: OpKind, decl: &AttrDecl) -> Read<Attr> {
        let token = self.token;
        let word = if token.kind == Kind::Ident { self.text_of(token) } else { "" };
        match decl.kind {
            AttrKind::OptionalInt | AttrKind::OptionalFloat | AttrKind::OptionalDType | AttrKind::OptionalType if word == "none" => {
                self.advance();
                Ok(Attr::None)
            }
            AttrKind::Int | AttrKind::OptionalInt if token.kind == Kind::Number => Ok(Attr::Int(self.integer()?)),
            AttrKind::Bool if word == "true" || word == "false" => {
                self.advance();
                Ok(Attr::Bool(word == "true"))
            }
            AttrKind::Float | AttrKind::OptionalFloat if token.kind == Kind::Number || matches!(word, "inf" | "-inf" | "nan") => {
                Ok(Attr::Float(self.float()?))
            }
            AttrKind::Name if token.kind == Kind::Ident || token.kind == Kind::Str => Ok(Attr::Name(self.name(decl.kind.describe())?)),
            AttrKind::DType | AttrKind::OptionalDType if token.kind == Kind::Ident => {
                let Some(dtype) = DType::from_name(word) else { return Err(self.unknown_dtype(Code::E0005, token.start..token.end)) };
                self.advance();
                Ok(Attr::DType(dtype))
            }
            AttrKind::Type | AttrKind::OptionalType if token.kind == Kind::Ident || self.is(b'(') => Ok(Attr::Type(self.ty(0)?)),
            AttrKind::Ints if self.is(b'[') => {
                let open = self.advance();
                let mut values = vec![];
                let mut more = !self.eat(b']');
                while more {
                    if self.token.kind != Kind::Number {
                        return Err(self.wrong_kind(kind, decl));
                    }
                    values.push(self.integer()?);
                    more = self.separator(b']', open, "the numbers")?;
                }
                Ok(Attr::Ints(values))
            }
            AttrKind::Dims if self.is(b'[') => Ok(Attr::Dims(self.sizes()?)),
            AttrKind::Literal
                if matches!(token.kind, Kind::Number | Kind::Str | Kind::Punct(b'['))
                    || (token.kind == Kind::Ident && self.begins_literal()) =>
            {
                Ok(Attr::Literal(self.literal()?))
            }
            AttrKind::Reduction if token.kind == Kind::Ident => {
                let Some(reduction) = Reduction::from_name(word) else { return Err(self.wrong_kind(kind, decl)) };
                self.advance();
                Ok(Attr::Reduction(reduction))
            }
            _ => Err(self.wrong_kind(kind, decl)),
        }
    }

    fn wrong_kind(&mut self, kind: OpKind, decl: &AttrDecl) -> Reported {
        let token = self.token;
        let something = matches!(token.kind, Kind::Ident | Kind::Number | Kind::Value | Kind::Str | Kind::Punct(b'['));
        if !something || token.first {
            return self.unexpected(decl.kind.describe());
        }
        let message = format!("`{}` of `{}` takes {}", decl.name, kind.name(), decl.kind.describe());
        let label = format!("this is {}", describe(self, token));
        let error = Diagnostic::error(Code::E0005, message).label(self.span(token), label);
        let error = match (decl.kind, self.text_of(token)) {
            (AttrKind::OptionalInt | AttrKind::OptionalFloat | AttrKind::OptionalDType | AttrKind::OptionalType, "None") => {
                error.help("write `none`")
            }
            (AttrKind::Bool, "True") => error.help("write `true`"),
            (AttrKind::Bool, "False") => error.help("write `false`"),
            (AttrKind::Ints, text) if token.kind == Kind::Number && text.len() < 20 => error.help(format!("write `[{text}]`")),
            (AttrKind::Literal, _) if token.kind == Kind::Value => error.help("a `const` is fixed; use the value itself as an operand"),
            _ => error.note(format!("`{}`: {}", decl.name, gist(decl))),
        };
        self.report(error)
    }

    pub(super) fn unknown_dtype(&mut self, code: Code, place: std::ops::Range<usize>) -> Reported {
        let text = &self.text[place.clone()];
        let error = Diagnostic::error(code, format!("there is no element type {}", quote(text)));
        let error = error.label(crate::diagnostic::Span::text(place.start, place.end), "not an element type");
        let names = DType::ALL.iter().map(|dtype| dtype.name());
        let near = suggest(error.clone(), text, names.clone().filter(|_| text.len() > 2));
        let error = if near.help.is_empty() {
            error.help(format!("the element types are {}", names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")))
        } else {
            near
        };
        self.report(error)
    }
}

/// The attributes of an operation that stand in braces, under their names: not the body of a loop.
fn named(kind: OpKind) -> impl Iterator<Item = &'static AttrDecl> + Clone {
    kind.attrs().iter().filter(|decl| decl.kind != AttrKind::Body)
}

/// The first sentence of what an attribute means.
fn gist(decl: &AttrDecl) -> &'static str {
    let line = decl.doc.lines().next().unwrap_or("").trim();
    line.strip_suffix('.').unwrap_or(line)
}
