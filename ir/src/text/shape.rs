//! Reading types and sizes.
//!
//! In `tensor<BxTx576xf32>` words and numbers touch, so shapes are read by characters and not by tokens.

use smallvec::SmallVec;

use super::{
    lex::Kind,
    parse::{MAX_NESTING, Parser, Read, Reported, quote},
};
use crate::{
    code::Code,
    diagnostic::{Diagnostic, Span},
    types::{DType, Dim, ForwardType, MAX_FACTORS, MAX_SIZE, MAX_TERMS, Shape, TensorType, Type},
};

impl Parser<'_> {
    /// Reads a type; `depth` is how many types it stands in.
    pub(super) fn ty(&mut self, depth: usize) -> Read<Type> {
        let token = self.token;
        if depth >= MAX_NESTING {
            let error = Diagnostic::error(Code::E4001, format!("types are nested more than {MAX_NESTING} deep"));
            return Err(self.report(error.label(self.span(token), "this type is too deep")));
        }
        if self.is(b'(') {
            self.advance();
            let mut parts = vec![];
            let mut more = !self.eat(b')');
            while more {
                parts.push(self.ty(depth + 1)?);
                more = self.separator(b')', token, "the types of the tuple")?;
            }
            return Ok(Type::Tuple(parts.into()));
        }
        if token.kind != Kind::Ident {
            return Err(self.unexpected("a type, such as `tensor<1x9xf32>`"));
        }
        match self.text_of(token) {
            "tensor" => {
                self.advance();
                Ok(Type::Tensor(self.tensor_type()?))
            }
            "list" => {
                self.advance();
                self.expect(b'<', "`<` and the type of the elements")?;
                let part = self.ty(depth + 1)?;
                self.expect(b'>', "`>`")?;
                Ok(Type::List(part.into()))
            }
            "forward" => {
                self.advance();
                self.expect(b'<', "`<`, the model and the sizes, such as `<m, 1x9>`")?;
                let model = self.name("the model")?;
                if !self.is(b',') {
                    return Err(self.unexpected("`,` and the sizes, such as `1x9`"));
                }
                let batch = self.size()?;
                self.cross()?;
                let tokens = self.size()?;
                self.resume();
                let mut past = Dim::known(0);
                if self.is_word("after") {
                    // The token after it is read by characters.
                    self.lexer.at = self.token.end;
                    past = self.size()?;
                    self.resume();
                }
                self.expect(b'>', "`>`")?;
                Ok(Type::Forward(ForwardType { model, batch, tokens, past }))
            }
            "str" => {
                self.advance();
                Ok(Type::Str)
            }
            "opaque" => {
                self.advance();
                Ok(Type::Opaque)
            }
            text => {
                let error =
                    Diagnostic::error(Code::E0001, format!("there is no type {}", quote(text))).label(self.span(token), "not a type");
                let error = if DType::from_name(text).is_some() {
                    error.help(format!("this is an element type; a tensor without dimensions is `tensor<{text}>`"))
                } else {
                    super::call::suggest(error, text, ["tensor", "list", "str", "opaque", "forward"].into_iter())
                };
                Err(self.report(error))
            }
        }
    }

    /// The next character that is not a space; 0 at the end of the text.
    fn peek(&self) -> u8 {
        let mut lexer = self.lexer;
        lexer.skip_space();
        lexer.byte(0)
    }

    /// Goes past this character, if it is the next one.
    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == byte;
        if there {
            self.lexer.skip_space();
            self.lexer.at += 1;
        }
        there
    }

    /// Goes past the next characters as long as they are such; returns where they are.
    fn take_while(&mut self, holds: impl Fn(u8) -> bool) -> std::ops::Range<usize> {
        self.lexer.skip_space();
        let start = self.lexer.at;
        while holds(self.lexer.byte(0)) {
            self.lexer.at += 1;
        }
        start..self.lexer.at
    }

    /// Reports that something else is expected as the next character.
    fn not_here(&mut self, expected: &str) -> Reported {
        self.resume();
        self.unexpected(expected)
    }

    /// Reads `<1x9xf32>`, after `tensor`.
    pub(super) fn tensor_type(&mut self) -> Read<TensorType> {
        if !self.is(b'<') {
            return Err(self.unexpected("`<`, sizes and an element type, such as `<1x9xf32>`"));
        }
        let mut shape = Shape::new();
        let dtype = loop {
            if self.peek().is_ascii_lowercase() {
                let place = self.take_while(|byte| byte.is_ascii_alphanumeric());
                let word = &self.text[place.clone()];
                if let Some(dtype) = DType::from_name(word) {
                    break dtype;
                }
                return Err(match word.split_once('x') {
                    Some((symbol, _)) if !symbol.is_empty() => {
                        let error = Diagnostic::error(Code::E0001, format!("{} is neither a size nor an element type", quote(symbol)));
                        let span = Span::text(place.start, place.start + symbol.len());
                        self.report(error.label(span, "symbols have no lower-case letters"))
                    }
                    _ => self.unknown_dtype(Code::E0001, place),
                });
            }
            shape.push(self.size()?);
            self.cross()?;
        };
        self.resume();
        self.expect(b'>', "`>`")?;
        Ok(TensorType { dtype, shape })
    }

    /// Reads `[B, T, 2*B*T-1]`; the current token is the bracket.
    pub(super) fn sizes(&mut self) -> Read<Vec<Dim>> {
        let mut dims = vec![];
        while self.peek() != b']' {
            dims.push(self.sum()?);
            if !self.take(b',') && self.peek() != b']' {
                return Err(self.not_here("`,`, `]` or the rest of a size"));
            }
        }
        self.resume();
        self.advance();
        Ok(dims)
    }

    /// Goes past the `x` between sizes.
    fn cross(&mut self) -> Read<()> {
        if self.take(b'x') {
            return Ok(());
        }
        if matches!(self.peek(), b'+' | b'-' | b'*') {
            let place = self.take_while(|byte| matches!(byte, b'+' | b'-' | b'*'));
            let error = Diagnostic::error(Code::E0001, "a size that is not a single number or symbol stands in parentheses");
            let error = error.label(Span::text(place.start, place.end), "expected `x`").help("write `(T-1)x…`");
            return Err(self.report(error));
        }
        Err(self.not_here("`x` and the rest of the type"))
    }

    /// Reads a number, a symbol, or a sum in parentheses.
    fn size(&mut self) -> Read<Dim> {
        if self.take(b'(') {
            let dim = self.sum()?;
            return if self.take(b')') { Ok(dim) } else { Err(self.not_here("`)`")) };
        }
        if self.peek().is_ascii_digit() || self.peek().is_ascii_uppercase() {
            let (number, symbol) = self.factor()?;
            return Ok(symbol.unwrap_or_else(|| Dim::known(number as i64)));
        }
        Err(self.not_here("a size (a number, a symbol such as `T`, or a sum in parentheses) or an element type"))
    }

    /// Reads `2*B*T-1`.
    fn sum(&mut self) -> Read<Dim> {
        let start = self.take_while(|_| false).start;
        let too_large = |parser: &mut Self| {
            let error = Diagnostic::error(Code::E4001, "the size is too large").label(Span::text(start, parser.lexer.at), "");
            parser.report(error.note(format!("a size has at most {MAX_TERMS} products of {MAX_FACTORS} symbols, and numbers up to 2^40")))
        };
        let mut sum = Dim::known(0);
        let mut total = 0u64;
        let mut negative = self.take(b'-');
        for _ in 0..MAX_TERMS {
            let mut number = 1u64;
            let mut symbols: SmallVec<[Dim; 4]> = SmallVec::new();
            loop {
                match self.factor()? {
                    (_, Some(symbol)) => symbols.push(symbol),
                    (factor, None) => number = number.saturating_mul(factor),
                }
                if number > MAX_SIZE || symbols.len() > MAX_FACTORS {
                    return Err(too_large(self));
                }
                if !self.take(b'*') {
                    break;
                }
            }
            total += number;
            if total > MAX_SIZE {
                return Err(too_large(self));
            }
            let number = Dim::known(if negative { -(number as i64) } else { number as i64 });
            let product = symbols.into_iter().reduce(|product, symbol| product * symbol);
            sum = sum + product.map_or(number.clone(), |product| product * number);
            negative = self.take(b'-');
            if !negative && !self.take(b'+') {
                return Ok(sum);
            }
        }
        Err(too_large(self))
    }

    /// Reads a number or a symbol.
    fn factor(&mut self) -> Read<(u64, Option<Dim>)> {
        let next = self.peek();
        if next.is_ascii_digit() {
            let place = self.take_while(|byte| byte.is_ascii_digit());
            return match self.text[place.clone()].parse() {
                Ok(number) if number <= MAX_SIZE => Ok((number, None)),
                _ => {
                    let error = Diagnostic::error(Code::E4001, "the size is too large");
                    Err(self.report(error.label(Span::text(place.start, place.end), "at most 2^40")))
                }
            };
        }
        if next.is_ascii_uppercase() {
            let place = self.take_while(Dim::in_symbol);
            let text = self.text;
            return Ok((1, Some(Dim::symbol(self.intern(&text[place])))));
        }
        if next.is_ascii_lowercase() {
            self.resume();
            let text = self.text_of(self.token);
            let error = Diagnostic::error(Code::E0001, format!("expected a size, found {}", quote(text)));
            let error = error.label(self.span(self.token), "symbols have no lower-case letters");
            let upper = text.to_ascii_uppercase();
            return Err(self.report(if upper.len() < 30 { error.help(format!("write `{upper}`")) } else { error }));
        }
        Err(self.not_here("a size: a number or a symbol such as `T`"))
    }
}
