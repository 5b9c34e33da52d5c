//! From text to graphs: the parser's state, the head of a file, statements, and going on after a mistake.
//!
//! A statement with a mistake is left out and its value is known to be bad, so that what uses it is left out silently:
//! each mistake is reported once.

use std::borrow::Cow;

use hashbrown::{HashMap, hash_map::Entry};

use super::{
    Parsed,
    lex::{Kind, Lexer, Token, is_digits, unescape},
    names::{Definition, Names},
};
use crate::{
    code::Code,
    diagnostic::{Diagnostic, Span},
    graph::{Graph, ModelDecl, NodeId},
    op::Op,
    types::Name,
};

/// The longest text that is read, in bytes. Spans are 32 bits wide, and node numbers follow from the length.
const MAX_TEXT: usize = 256 << 20;

/// How deep calls, lists and types can be nested.
pub(super) const MAX_NESTING: usize = 200;

/// After so many mistakes nobody reads on.
const MAX_DIAGNOSTICS: usize = 100;

/// A mistake was found and reported; the statement cannot be understood.
pub(super) struct Reported;

/// What was read, unless a mistake was reported.
pub(super) type Read<T> = Result<T, Reported>;

/// A node, or nothing where it could not be made because of a mistake reported elsewhere.
pub(super) type Value = Option<NodeId>;

pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    /// Stands after `token`.
    pub(super) lexer: Lexer<'a>,
    pub(super) token: Token,
    /// Where the token before `token` ended.
    end: usize,
    /// The graph that statements go to: the program, or the body of a loop.
    pub(super) graph: Graph,
    /// Of calls, in the current statement and those around it.
    pub(super) depth: usize,
    diagnostics: Vec<Diagnostic>,
    /// The names of the current graph.
    values: Names<'a>,
    /// Names that were used without a definition, and the diagnostic about it.
    undefined: HashMap<Cow<'a, str>, usize>,
    /// How the current body ends, as far as that was read.
    pub(super) ending: Ending,
    /// What is around the current body.
    pub(super) outer: Vec<Scope<'a>>,
    /// The text ended inside a body, which was reported.
    unclosed: bool,
    names: HashMap<&'a str, Name>,
}

/// What a graph is read into, while the body of one of its loops is.
pub(super) struct Scope<'a> {
    graph: Graph,
    values: Names<'a>,
    undefined: HashMap<Cow<'a, str>, usize>,
    ending: Ending,
}

/// The end of a body.
#[derive(Default)]
pub(super) struct Ending {
    pub(super) yielded: Option<Span>,
    pub(super) until: Option<Span>,
    /// A mistake in it was reported.
    pub(super) broken: bool,
}

pub(super) fn parse(text: &str) -> Parsed {
    if text.len() > MAX_TEXT {
        let message = format!("the text has {} bytes; at most {MAX_TEXT} are read", text.len());
        return Parsed { graph: Graph::new(""), diagnostics: vec![Diagnostic::error(Code::E4001, message)] };
    }
    let mut lexer = Lexer::new(text);
    let token = lexer.next();
    let mut parser = Parser {
        text,
        lexer,
        token,
        end: 0,
        graph: Graph::new(""),
        depth: 0,
        diagnostics: vec![],
        values: Names::default(),
        undefined: HashMap::new(),
        ending: Ending::default(),
        outer: vec![],
        unclosed: false,
        names: HashMap::new(),
    };
    parser.file();
    parser.explain_undefined();
    Parsed { graph: parser.graph, diagnostics: parser.diagnostics }
}

/// A quotation for a message: text of the program, cut where it is long.
pub(super) fn quote(text: &str) -> String {
    let cut = text.char_indices().nth(60).map_or(text, |(at, _)| &text[..at]);
    if cut.len() < text.len() { format!("`{cut}…`") } else { format!("`{text}`") }
}

/// Tokens.
impl<'a> Parser<'a> {
    /// Goes to the next token; returns the one that was current.
    pub(super) fn advance(&mut self) -> Token {
        let token = self.token;
        self.end = token.end;
        self.token = self.lexer.next();
        token
    }

    /// Goes to the next token after something was read by characters.
    pub(super) fn resume(&mut self) {
        let end = self.lexer.at;
        self.advance();
        self.end = end;
    }

    pub(super) fn text_of(&self, token: Token) -> &'a str {
        &self.text[token.start..token.end]
    }

    pub(super) fn is(&self, punct: u8) -> bool {
        self.token.kind == Kind::Punct(punct)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.token.kind == Kind::Ident && self.text_of(self.token) == word
    }

    /// The kind of the token after the current one.
    pub(super) fn ahead(&self) -> Kind {
        let mut lexer = self.lexer;
        lexer.next().kind
    }

    pub(super) fn eat(&mut self, punct: u8) -> bool {
        let there = self.is(punct);
        if there {
            self.advance();
        }
        there
    }

    /// Goes past this token, or reports that `expected` is missing.
    pub(super) fn expect(&mut self, punct: u8, expected: &str) -> Read<()> {
        if self.eat(punct) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    /// Goes past the comma after an element of a list; whether the list goes on. `opened` is where it began.
    pub(super) fn separator(&mut self, close: u8, opened: Token, what: &str) -> Read<bool> {
        if self.eat(b',') {
            return Ok(!self.eat(close));
        }
        if self.eat(close) {
            return Ok(false);
        }
        let error = self.unexpected_diagnostic(&format!("`,` or `{}`", close as char));
        Err(self.report(error.label(self.span(opened), format!("{what} begin here"))))
    }

    pub(super) fn span(&self, token: Token) -> Span {
        Span::text(token.start, token.end)
    }

    /// From a byte to the end of the last token.
    pub(super) fn span_from(&self, start: usize) -> Span {
        Span::text(start, self.end.max(start))
    }

    /// A shared copy of a piece of the text.
    pub(super) fn intern(&mut self, text: &'a str) -> Name {
        self.names.entry(text).or_insert_with(|| text.into()).clone()
    }

    /// What a quoted token says; `skip` bytes before the quote are a sigil.
    fn unquote(&mut self, token: Token, skip: usize) -> Read<Cow<'a, str>> {
        let start = token.start + skip + 1;
        unescape(&self.text[start..token.end - 1]).map_err(|range| {
            let span = Span::text(start + range.start, start + range.end);
            let error = Diagnostic::error(Code::E0006, "this escape in a string has no meaning").label(span, "not an escape");
            self.report(error.help("the escapes are `\\n`, `\\r`, `\\t`, `\\0`, `\\\"`, `\\\\` and `\\u{1f600}`"))
        })
    }

    /// Whether the current token may be a name without its quotes or sigil, for a remedy.
    fn is_short_word(&self) -> bool {
        self.token.kind == Kind::Ident && !self.token.first && self.text_of(self.token).len() <= 60
    }

    /// Reads a string.
    pub(super) fn string(&mut self, expected: &str) -> Read<Name> {
        if self.token.kind != Kind::Str {
            let bare = self.is_short_word();
            let error = self.unexpected_diagnostic(expected);
            let quoted = format!("write \"{}\"", self.text_of(self.token));
            return Err(self.report(if bare { error.help(quoted) } else { error }));
        }
        let token = self.advance();
        match self.unquote(token, 0)? {
            Cow::Borrowed(text) => Ok(self.intern(text)),
            Cow::Owned(text) => Ok(text.into()),
        }
    }

    /// Reads a name, quoted or not.
    pub(super) fn name(&mut self, expected: &str) -> Read<Name> {
        if self.token.kind != Kind::Ident || self.text_of(self.token).starts_with('-') {
            return self.string(expected);
        }
        let token = self.advance();
        Ok(self.intern(self.text_of(token)))
    }

    /// The name in a token with a sigil.
    pub(super) fn sigil_name(&mut self, token: Token) -> Read<Cow<'a, str>> {
        let text = &self.text_of(token)[1..];
        if text.starts_with('"') { self.unquote(token, 1) } else { Ok(Cow::Borrowed(text)) }
    }
}

/// Mistakes.
impl<'a> Parser<'a> {
    pub(super) fn report(&mut self, mut diagnostic: Diagnostic) -> Reported {
        if self.diagnostics.len() + 1 == MAX_DIAGNOSTICS {
            diagnostic = diagnostic.note(format!("these are {MAX_DIAGNOSTICS} mistakes; the rest of the text is not read"));
        }
        if !self.is_full() {
            self.diagnostics.push(diagnostic);
        }
        Reported
    }

    fn is_full(&self) -> bool {
        self.diagnostics.len() >= MAX_DIAGNOSTICS
    }

    /// Reports that something else than the current token is expected.
    pub(super) fn unexpected(&mut self, expected: &str) -> Reported {
        let error = self.unexpected_diagnostic(expected);
        self.report(error)
    }

    /// The mistake that something else than the current token is expected.
    ///
    /// What is missing at the end of a line is missing there, not before the first word of the next line.
    pub(super) fn unexpected_diagnostic(&self, expected: &str) -> Diagnostic {
        let token = self.token;
        let text = self.text_of(token);
        let label = format!("expected {expected}");
        match token.kind {
            Kind::OpenStr => {
                let error = Diagnostic::error(Code::E0006, "the string is not closed").label(self.span(token), "the line ends first");
                return error.help("a line break inside a string is written `\\n`");
            }
            Kind::Unknown => return self.unknown_character(label),
            Kind::End | Kind::Ident | Kind::Number | Kind::Value | Kind::GraphName | Kind::Str | Kind::Punct(_) => {}
        }
        let found = match token.kind {
            Kind::End => "the end of the text".to_owned(),
            Kind::Str => "a string".to_owned(),
            _ => quote(text),
        };
        let at_end = (token.first || token.kind == Kind::End) && self.end > 0;
        let span = if at_end { Span::text(self.end, self.end) } else { self.span(token) };
        let found = if at_end && token.kind != Kind::End { "the end of the line".to_owned() } else { found };
        Diagnostic::error(Code::E0001, format!("expected {expected}, found {found}")).label(span, label)
    }

    fn unknown_character(&self, label: String) -> Diagnostic {
        let text = self.text_of(self.token);
        let character = text.chars().next().unwrap_or(' ');
        let shown = if character.is_control() || character.is_whitespace() || !text.is_ascii() {
            format!("`{}` (U+{:04X})", character.escape_debug(), character as u32)
        } else {
            format!("`{text}`")
        };
        let error =
            Diagnostic::error(Code::E0001, format!("the character {shown} has no meaning here")).label(self.span(self.token), label);
        match character {
            '“' | '”' | '„' | '‘' | '’' | '\'' | '`' => error.help("strings stand in straight double quotes: \"text\""),
            '#' | '/' => error.help("a comment begins with `//`"),
            ';' => error.help("statements need nothing between them"),
            '%' => error.help("the name of a value follows `%` directly: `%x`, `%0` or `%\"any text\"`"),
            '@' => error.help("the name of the graph follows `@` directly: `@patch`"),
            '+' => error.help("a positive number has no sign"),
            _ => error,
        }
    }

    /// Goes from the statement that began at `start` to the next one, or to the end of the graph.
    ///
    /// The next statement begins a line. Where brackets are still open it must look like one: a list may go on over
    /// several lines, but a forgotten bracket must not swallow the rest of the program.
    fn recover(&mut self, start: usize) {
        self.lexer.at = start;
        self.token = self.lexer.next();
        let (mut braces, mut others) = (0usize, 0usize);
        loop {
            let kind = self.token.kind;
            match kind {
                Kind::Punct(b'{') if self.skip_body() => {}
                Kind::Punct(b'{') => braces += 1,
                Kind::Punct(b'}') => braces = braces.saturating_sub(1),
                Kind::Punct(b'(' | b'[') => others += 1,
                Kind::Punct(b')' | b']') => others = others.saturating_sub(1),
                _ => {}
            }
            self.advance();
            let end = self.is(b'}') && braces == 0;
            let line = self.token.first && (braces + others == 0 || self.begins_statement());
            if self.token.kind == Kind::End || end || line {
                return;
            }
        }
    }

    /// Goes to the brace that closes a body, if one opens here and is closed.
    fn skip_body(&mut self) -> bool {
        let start = (self.lexer, self.token, self.end);
        self.advance();
        if self.token.first && (self.is(b'}') || self.begins_statement()) {
            let mut open = 1usize;
            while self.token.kind != Kind::End {
                open = open + usize::from(self.is(b'{')) - usize::from(self.is(b'}'));
                if open == 0 {
                    return true;
                }
                self.advance();
            }
        }
        (self.lexer, self.token, self.end) = start;
        false
    }

    /// Whether the current token begins a statement, as far as that can be told.
    pub(super) fn begins_statement(&self) -> bool {
        match self.token.kind {
            Kind::Value => self.ahead() == Kind::Punct(b'='),
            Kind::Ident => match self.text_of(self.token) {
                "save" | "do" | "stop" | "until" | "yield" => true,
                // Also an operation.
                "log" => self.ahead() != Kind::Punct(b'('),
                _ => false,
            },
            _ => false,
        }
    }

    /// Tells uses of names that have no definition from uses above the definition.
    fn explain_undefined(&mut self) {
        for (name, &at) in &self.undefined {
            let (Some(definition), Some(diagnostic)) = (self.values.get(name), self.diagnostics.get_mut(at)) else { continue };
            diagnostic.message = format!("{} is used above its definition", quote(&format!("%{name}")));
            diagnostic.labels[0].text = "not defined yet".to_owned();
            diagnostic.help.clear();
            *diagnostic = diagnostic.clone().label(definition.span(), "defined here").help("move the definition above its first use");
        }
    }
}

/// Files and statements.
impl<'a> Parser<'a> {
    fn file(&mut self) {
        let Ok(open) = self.head() else {
            // What looks like a statement is read; whether braces fit is no longer of interest.
            while self.token.kind != Kind::End && !(self.token.first && self.begins_statement()) {
                self.advance();
            }
            return self.statements(None);
        };
        self.statements(Some(open));
    }

    /// Reads up to the opening brace, which it returns.
    fn head(&mut self) -> Read<Token> {
        if !self.is_word("graph") {
            let error = self.unexpected_diagnostic("`graph`");
            let error = if self.token.kind == Kind::End {
                Diagnostic::error(Code::E0001, "the text holds no program").label(Span::text(0, self.text.len()), "")
            } else {
                error
            };
            return Err(self.report(error.help("a program is `graph @name models { m: \"smollm2\" } { … }`")));
        }
        self.advance();
        if self.token.kind != Kind::GraphName {
            let error = self.unexpected_diagnostic("a name, such as `@main`");
            let bare = self.is_short_word();
            let quoted = format!("write `@{}`", self.text_of(self.token));
            return Err(self.report(if bare { error.help(quoted) } else { error }));
        }
        let token = self.advance();
        self.graph.name = self.sigil_name(token)?.into();
        if self.is_word("models") {
            self.advance();
            self.models()?;
        }
        let open = self.token;
        self.expect(b'{', "`{`")?;
        Ok(open)
    }

    fn models(&mut self) -> Read<()> {
        let open = self.token;
        self.expect(b'{', "`{`")?;
        let mut places: HashMap<Name, Span> = HashMap::new();
        let mut more = !self.eat(b'}');
        while more {
            let at = self.token;
            let name = self.name("a name for a model")?;
            self.expect(b':', "`:` and the model, such as `m: \"smollm2\"`")?;
            let reference = self.string("the name or path of the model, in quotes")?;
            let span = self.span_from(at.start);
            match places.entry(name.clone()) {
                Entry::Occupied(first) => {
                    let error = Diagnostic::error(Code::E0003, format!("the model {} is declared twice", quote(&name)))
                        .label(span, "declared again here")
                        .label(first.get().clone(), "declared first here");
                    self.report(error);
                }
                Entry::Vacant(entry) => {
                    entry.insert(span.clone());
                    self.graph.models.push(ModelDecl { name, reference, span });
                }
            }
            more = self.separator(b'}', open, "the models")?;
        }
        Ok(())
    }

    /// Reads statements to the end of the graph, or of the body. Without `open`, the head of the file was wrong.
    pub(super) fn statements(&mut self, open: Option<Token>) {
        let depth = self.depth;
        while !self.is_full() && !self.unclosed {
            match (self.token.kind, open) {
                (Kind::End, None) => return,
                (Kind::End, Some(open)) => {
                    let what = if self.outer.is_empty() { "the graph begins here" } else { "the body begins here" };
                    let error = self.unexpected_diagnostic("`}`").label(self.span(open), what);
                    self.report(error);
                    self.unclosed = true;
                    return;
                }
                (Kind::Punct(b'}'), Some(_)) if self.outer.is_empty() => return self.after_graph(),
                (Kind::Punct(b'}'), Some(_)) => {
                    self.advance();
                    return;
                }
                (Kind::Punct(b'}'), None) => {
                    self.advance();
                }
                _ => {
                    let start = self.token.start;
                    self.depth = depth;
                    if self.statement().is_err() && !self.unclosed {
                        self.recover(start);
                    }
                    self.depth = depth;
                }
            }
        }
    }

    fn after_graph(&mut self) {
        let close = self.advance();
        if self.token.kind != Kind::End {
            let found = self.span(self.token);
            let error = Diagnostic::error(Code::E0001, "there is text after the end of the graph")
                .label(found, "expected the end of the text")
                .label(self.span(close), "the graph ends here");
            self.report(error);
        }
    }

    fn statement(&mut self) -> Read<()> {
        match self.token.kind {
            Kind::Value => self.definition(),
            Kind::Ident if self.ahead() == Kind::Punct(b'=') => {
                let name = self.text_of(self.token);
                let error = Diagnostic::error(Code::E0001, "the name of a value begins with `%`");
                self.report(error.label(self.span(self.token), format!("write {}", quote(&format!("%{name}")))));
                self.definition()
            }
            Kind::Ident => match self.text_of(self.token) {
                "save" => self.save(),
                "log" => self.log(),
                "do" => self.do_statement(),
                "stop" => self.stop(),
                "until" => self.until(),
                "yield" => self.yield_statement(),
                _ => Err(self.not_a_statement()),
            },
            _ if self.token.first => Err(self.unexpected("a statement: `%x = …`, `save %x as \"name\"` or `log %x`")),
            _ if self.is_operator() => Err(self.infix()),
            _ => Err(self.unexpected("the end of the statement")),
        }
    }

    /// Whether the current token is a sign of arithmetic.
    fn is_operator(&self) -> bool {
        self.token.kind == Kind::Unknown && matches!(self.text_of(self.token), "+" | "-" | "*" | "/" | "@")
    }

    fn infix(&mut self) -> Reported {
        let name = match self.text_of(self.token) {
            "+" => "add",
            "-" => "sub",
            "*" => "mul",
            "/" => "div",
            _ => "matmul",
        };
        let error = Diagnostic::error(Code::E0001, "there are no operators between values").label(self.span(self.token), "");
        self.report(error.help(format!("write `{name}(…, …)`")))
    }

    fn not_a_statement(&mut self) -> Reported {
        let text = self.text_of(self.token);
        let error = if super::call::operation(text).is_some() {
            let error = Diagnostic::error(Code::E0001, "a statement cannot begin with an operation");
            error
                .label(self.span(self.token), "its value needs a name")
                .help(format!("write `%x = {text}(…)`, or `save {text}(…) as \"x\"`"))
        } else {
            let found = Diagnostic::error(Code::E0001, format!("expected a statement, found {}", quote(text)));
            let error = found.label(self.span(self.token), "not a statement");
            let error = if text.len() < 100 { error.suggest(text, ["save", "log", "stop", "until", "yield"]) } else { error };
            error.help("statements are `%x = …`, `save %x as \"name\"`, `log %x`, `do call(…)` and `stop`")
        };
        self.report(error)
    }

    /// `%x = add(%a, %b) : tensor<f32>`
    fn definition(&mut self) -> Read<()> {
        let token = self.advance();
        let (name, keep) = match token.kind {
            Kind::Value => {
                let name = self.sigil_name(token)?;
                let keep = !is_digits(&self.text_of(token)[1..]);
                (name, keep)
            }
            _ => (Cow::Borrowed(self.text_of(token)), true),
        };
        if !self.is(b'=') {
            // Maybe it is not meant as a definition: a name that is known stays as it is.
            let span = self.span(token);
            self.values.define(name, Definition::new(None, &span)).ok();
            return Err(self.unexpected("`=`"));
        }
        self.advance();
        let start = self.token;
        let value = match start.kind {
            Kind::Value => {
                let what = self.text_of(start);
                self.advance();
                if self.is_operator() {
                    self.values.define(name, Definition::new(None, &Span::None)).ok();
                    return Err(self.infix());
                }
                let second = quote(&format!("%{name}"));
                let error = Diagnostic::error(Code::E0001, format!("{second} would be a second name of {}", quote(what)));
                let error = error.label(self.span(start), "this value has its name");
                Err(self.report(error.help(format!("use {} in the place of {second}", quote(what)))))
            }
            Kind::Ident if self.is_word("do") => self.effect_result(),
            _ => self.operand("an operation or a literal"),
        };
        // The name is known from here on even if its value is not.
        let (result, value) = match value {
            Ok(value) => (Ok(()), value),
            Err(reported) => (Err(reported), None),
        };
        self.define(name, token, value, keep);
        result?;
        if self.eat(b':') {
            let start = self.token.start;
            let ty = self.ty(0)?;
            if let Some(id) = value {
                let span = self.span_from(start);
                self.graph.write_type(id, ty, span);
            }
        }
        Ok(())
    }

    pub(super) fn define(&mut self, name: Cow<'a, str>, token: Token, value: Value, keep: bool) {
        let span = self.span(token);
        if let Err(first) = self.values.define(name.clone(), Definition::new(value, &span)) {
            let shown = quote(&format!("%{name}"));
            let error = Diagnostic::error(Code::E0003, format!("{shown} is defined twice"))
                .label(span, "defined again here")
                .label(first.span(), "defined first here")
                .help("every value has one definition; give the second one another name");
            self.report(error);
        } else if let (Some(id), true) = (value, keep) {
            self.graph.set_label(id, &*name);
        }
    }

    /// Whether there is a value of this name.
    pub(super) fn is_value(&self, name: &str) -> bool {
        self.values.get(name).is_some()
    }

    /// The value that a `%name` stands for.
    pub(super) fn value_of(&mut self, token: Token) -> Read<Value> {
        let name = self.sigil_name(token)?;
        if let Some(definition) = self.values.get(&name) {
            return Ok(definition.value);
        }
        if !self.undefined.contains_key(&name) {
            let shown = format!("%{name}");
            let error =
                Diagnostic::error(Code::E0002, format!("there is no value {}", quote(&shown))).label(self.span(token), "not defined");
            let names = self.similar_names(&name);
            let around = self.outer.iter().rev().find_map(|scope| scope.values.get(&name));
            let error = match around {
                Some(around) => error
                    .label(around.span(), "this value is outside of the body")
                    .help(format!("the body of a loop sees its parameters only: make {} an operand of the loop", quote(&shown))),
                None if names.is_empty() => error,
                None => error.suggest(&shown, names.iter().map(|name| &**name)),
            };
            self.undefined.insert(name, self.diagnostics.len());
            self.report(error);
        }
        Ok(None)
    }

    /// Names to compare with a wrong one: not all of them, and none that any short name would be near to.
    fn similar_names(&self, wrong: &str) -> Vec<String> {
        if wrong.len() > 100 || self.values.len() > 10_000 {
            return vec![];
        }
        let short = wrong.chars().count() < 3;
        let alike = |name: &str| if short { name.eq_ignore_ascii_case(wrong) } else { name.chars().count() >= 3 && name.len() <= 110 };
        let mut names: Vec<String> = self.values.words().filter(|name| alike(name)).map(|name| format!("%{name}")).collect();
        names.sort();
        names
    }
}

/// Graphs inside graphs.
impl<'a> Parser<'a> {
    /// Begins the graph of a body.
    pub(super) fn enter(&mut self) {
        self.outer.push(Scope {
            graph: std::mem::replace(&mut self.graph, Graph::new("")),
            values: std::mem::take(&mut self.values),
            undefined: std::mem::take(&mut self.undefined),
            ending: std::mem::take(&mut self.ending),
        });
    }

    /// Goes back to the graph around the current one, which is returned with the way it ends.
    pub(super) fn leave(&mut self) -> (Graph, Ending) {
        self.explain_undefined();
        let around = self.outer.pop().unwrap_or_else(|| unreachable!("what was entered is left"));
        (self.values, self.undefined) = (around.values, around.undefined);
        (std::mem::replace(&mut self.graph, around.graph), std::mem::replace(&mut self.ending, around.ending))
    }

    /// Reads `(%i, %x: tensor<1xNxf32>)`: the parameters of a body.
    pub(super) fn parameters(&mut self) -> Read<()> {
        let open = self.token;
        self.expect(b'(', "`(` and the names of the body's parameters, such as `(%i, %x)`")?;
        let mut more = !self.is(b')');
        if !more {
            return Err(self.unexpected("the name of the iteration's number, such as `%i`"));
        }
        while more {
            let token = self.token;
            if token.kind != Kind::Value {
                return Err(self.unexpected("the name of a parameter, such as `%x`"));
            }
            self.advance();
            let name = self.sigil_name(token)?;
            let ty = if self.eat(b':') { Some(self.ty(0)?) } else { None };
            let index = i64::try_from(self.graph.len()).unwrap_or(i64::MAX);
            let span = self.span_from(token.start);
            let id = self.graph.add(Op::Param { index, ty: ty.map(Box::new) }, [], span);
            self.define(name, token, Some(id), !is_digits(&self.text_of(token)[1..]));
            more = self.separator(b')', open, "the parameters")?;
        }
        Ok(())
    }
}
