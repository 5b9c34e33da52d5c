//! Reading what is no definition: effects with their guards, and the bodies of loops with their ends.

use super::{
    call::operation,
    lex::{Kind, Token},
    parse::{Parser, Read, Value},
};
use crate::{
    code::Code,
    diagnostic::{Diagnostic, Span},
    graph::{Body, Effect, EffectKind, Guard, MAX_LOOP_NESTING, NodeId, Operands},
    op::Op,
};

/// A guard, or that there is none; nothing where a value in it is bad.
type MaybeGuard = Option<Option<Guard>>;

/// Effects.
impl Parser<'_> {
    /// `save %x as "name"`
    pub(super) fn save(&mut self) -> Read<()> {
        let start = self.advance().start;
        if self.is(b'(') {
            let error = self.unexpected_diagnostic("the value to save");
            return Err(self.report(error.help("`save` is no operation: write `save %x as \"x\"`")));
        }
        let value = self.operand("the value to save")?;
        if !self.is_word("as") {
            let error = self.unexpected_diagnostic("`as` and a name");
            return Err(self.report(error.help("a saved value has a name in the results: `save %x as \"x\"`")));
        }
        self.advance();
        let name = self.string("a name in quotes")?;
        let guard = self.guard()?;
        self.effect(EffectKind::Save { name }, value.map(|value| [value].into_iter().collect()), guard, start);
        Ok(())
    }

    /// `log %x`, `log "label", %x`
    pub(super) fn log(&mut self) -> Read<()> {
        let start = self.advance().start;
        if self.is(b'(') {
            let error = Diagnostic::error(Code::E0001, "a statement cannot begin with an operation")
                .label(Span::text(start, start + 3), "this reads as the operation `log`, whose value needs a name")
                .help("to show a value, write `log %x`; for the logarithm, `%y = log(%x)`");
            return Err(self.report(error));
        }
        let label = if self.token.kind == Kind::Str && self.ahead() == Kind::Punct(b',') {
            let label = self.string("a label")?;
            self.advance();
            Some(label)
        } else {
            None
        };
        let value = self.operand("the value to log")?;
        let guard = self.guard()?;
        self.effect(EffectKind::Log { label }, value.map(|value| [value].into_iter().collect()), guard, start);
        Ok(())
    }

    /// `stop`, `stop "why" if %x`
    pub(super) fn stop(&mut self) -> Read<()> {
        let start = self.advance().start;
        let says = self.token.kind == Kind::Str && !self.token.first;
        let reason = if says { Some(self.string("the reason")?) } else { None };
        let guard = self.guard()?;
        self.effect(EffectKind::Stop { reason }, Some(Operands::new()), guard, start);
        Ok(())
    }

    /// `do call(%x) {name: "show"}`, without a name for its result
    pub(super) fn do_statement(&mut self) -> Read<()> {
        self.doing().map(drop)
    }

    /// `do call(%x) {name: "f"} if %y else %z`; the value that stands for its result.
    pub(super) fn effect_result(&mut self) -> Read<Value> {
        let start = self.token.start;
        let Some(entry) = self.doing()? else { return Ok(None) };
        let (entry, span) = (i64::try_from(entry).unwrap_or(i64::MAX), self.span_from(start));
        Ok(Some(self.graph.add(Op::EffectResult { entry }, [], span)))
    }

    /// Reads what follows `do`; the number of the entry.
    fn doing(&mut self) -> Read<Option<usize>> {
        let start = self.advance().start;
        let name = self.token;
        let text = self.text_of(name);
        if name.first || name.kind != Kind::Ident {
            return Err(self.unexpected("`call` or `loop`"));
        }
        let kind = match (text, operation(text)) {
            ("call" | "loop", Some(kind)) => kind,
            (_, known) => {
                let error = Diagnostic::error(Code::E0001, "`do` stands before `call` and `loop`");
                let label = if known.is_some() { format!("`{text}` has no effects") } else { "expected `call` or `loop`".to_owned() };
                let error = error.label(self.span(name), label);
                return Err(self.report(if known.is_some() { error.help("leave `do` out") } else { error }));
            }
        };
        let parts = self.parts(kind, name, true)?;
        let guard = self.guard()?;
        let Some((op, operands)) = parts else { return Ok(None) };
        let kind = match op {
            Op::Call { name, returns } => EffectKind::Call { name, returns: *returns },
            Op::Loop { trip, body } => EffectKind::Loop { trip, body },
            _ => unreachable!("only these were let through"),
        };
        Ok(self.effect(kind, Some(operands), guard, start))
    }

    /// Reads `if %x else %y`, if it is there.
    fn guard(&mut self) -> Read<MaybeGuard> {
        if !self.is_word("if") {
            return Ok(Some(None));
        }
        self.advance();
        let condition = self.operand("a condition")?;
        let otherwise = if self.is_word("else") {
            self.advance();
            Some(self.operand("the value where the condition does not hold")?)
        } else {
            None
        };
        Ok(match (condition, otherwise) {
            (Some(condition), None) => Some(Some(Guard { condition, otherwise: None })),
            (Some(condition), Some(Some(other))) => Some(Some(Guard { condition, otherwise: Some(other) })),
            _ => None,
        })
    }

    /// Adds an effect unless one of its values is bad; its number.
    fn effect(&mut self, kind: EffectKind, operands: Option<Operands>, guard: MaybeGuard, start: usize) -> Option<usize> {
        let (operands, guard, span) = (operands?, guard?, self.span_from(start));
        self.graph.effects.push(Effect { kind, operands, guard, span });
        Some(self.graph.effects.len() - 1)
    }
}

/// Bodies of loops.
impl Parser<'_> {
    /// Reads the body of a loop, with its parameters: nothing where its end is bad. Without effects the loop is there for its
    /// value, so the body must yield one.
    pub(super) fn body(&mut self, name: Token, effects: bool) -> Read<Option<Body>> {
        if self.outer.len() >= MAX_LOOP_NESTING {
            let error = Diagnostic::error(Code::E4001, format!("loops are nested more than {MAX_LOOP_NESTING} deep"));
            return Err(self.report(error.label(self.span(name), "this loop is too deep")));
        }
        self.enter();
        let read = self.parameters().and_then(|()| {
            let open = self.token;
            self.expect(b'{', "`{` and the statements of the body")?;
            self.statements(Some(open));
            Ok(())
        });
        let (graph, ending) = self.leave();
        read?;
        if ending.broken {
            return Ok(None);
        }
        if !effects && ending.yielded.is_none() {
            let error = Diagnostic::error(Code::E0001, "the body of this loop yields nothing, so the loop has no value");
            let error = error.label(self.span(name), "its body ends without `yield`");
            return Err(self.report(
                error.help("end the body with `yield …`: what the next iteration begins with; for its effects alone, write `do loop(…)`"),
            ));
        }
        Body::new(graph).map(Some).map_err(|error| self.report(error.or_label(&ending.yielded.unwrap_or_else(|| self.span(name)))))
    }

    /// `until %x`
    pub(super) fn until(&mut self) -> Read<()> {
        let start = self.advance();
        self.only_in_bodies(start)?;
        self.ending.broken = true;
        if let Some(first) = self.ending.until.clone() {
            let error = Diagnostic::error(Code::E0001, "a loop has one end");
            let error = error.label(self.span(start), "given again here").label(first, "given first here");
            return Err(self.report(error.help("combine the conditions: `until or(%a, %b)`")));
        }
        self.ending.until = Some(self.span(start));
        if let Some(until) = self.operand("a condition")? {
            self.graph.until = Some(until);
            self.ending.broken = false;
        }
        Ok(())
    }

    /// `yield %x, %y`
    pub(super) fn yield_statement(&mut self) -> Read<()> {
        let start = self.advance();
        self.only_in_bodies(start)?;
        self.ending.broken = true;
        let mut results: Vec<Value> = vec![];
        if !self.is(b'}') && !self.token.first {
            results.push(self.operand("a value")?);
            while self.eat(b',') {
                results.push(self.operand("a value")?);
            }
        }
        self.ending.yielded = Some(self.span_from(start.start));
        if let Some(results) = results.into_iter().collect::<Option<Vec<NodeId>>>() {
            self.graph.results = results;
            self.ending.broken = false;
        }
        if self.is(b'}') || self.token.kind == Kind::End {
            return Ok(());
        }
        let here = self.span(self.token);
        let error = Diagnostic::error(Code::E0001, "`yield` is the last statement of a body").label(here, "expected `}`");
        Err(self.report(error.label(self.span(start), "the body ends with this")))
    }

    fn only_in_bodies(&mut self, start: Token) -> Read<()> {
        if !self.outer.is_empty() {
            return Ok(());
        }
        let error = Diagnostic::error(Code::E0001, format!("`{}` stands in the body of a loop", self.text_of(start)));
        Err(self.report(error.label(self.span(start), "there is no loop around this")))
    }
}
