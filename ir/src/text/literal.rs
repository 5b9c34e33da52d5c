//! Reading numbers, and the literals of `const`: elements go straight into the bytes of the tensor.

use half::{bf16, f16};

use super::{
    lex::{Kind, Token},
    parse::{MAX_NESTING, Parser, Read, Reported, quote},
};
use crate::{
    attr::{Float, Literal},
    code::Code,
    diagnostic::{Diagnostic, Span},
    tensor::{Sizes, Tensor},
    types::DType,
};

/// The bits of the NaN that is written `nan`.
pub(super) const fn quiet_nan(dtype: DType) -> u64 {
    match dtype {
        DType::F64 => 0x7ff8_0000_0000_0000,
        DType::F32 => 0x7fc0_0000,
        DType::F16 => 0x7e00,
        DType::BF16 => 0x7fc0,
        DType::I64 | DType::I32 | DType::U8 | DType::Bool => 0,
    }
}

/// Whether these are the bits of a NaN of a floating point type.
fn is_nan(dtype: DType, bits: u64) -> bool {
    match dtype {
        DType::F64 => f64::from_bits(bits).is_nan(),
        DType::F32 => u32::try_from(bits).is_ok_and(|bits| f32::from_bits(bits).is_nan()),
        DType::F16 => u16::try_from(bits).is_ok_and(|bits| f16::from_bits(bits).is_nan()),
        DType::BF16 => u16::try_from(bits).is_ok_and(|bits| bf16::from_bits(bits).is_nan()),
        DType::I64 | DType::I32 | DType::U8 | DType::Bool => false,
    }
}

/// The bits of the number of a floating point type that is nearest to a decimal.
///
/// The types of 16 bits are reached over f64 by a conversion that is the same on every machine.
pub(super) fn float_bits(dtype: DType, text: &str) -> Option<u64> {
    Some(match dtype {
        DType::F32 => text.parse::<f32>().ok()?.to_bits().into(),
        _ => round(dtype, text.parse().ok()?),
    })
}

/// The bits of the number of a floating point type that is nearest to another number.
pub(super) fn round(dtype: DType, value: f64) -> u64 {
    match dtype {
        DType::F32 => (value as f32).to_bits().into(),
        DType::F16 => f16::from_f64_const(value).to_bits().into(),
        DType::BF16 => bf16::from_f64_const(value).to_bits().into(),
        DType::F64 | DType::I64 | DType::I32 | DType::U8 | DType::Bool => value.to_bits(),
    }
}

/// Whether a number's bits, which come from a finite decimal, are finite too.
fn is_finite(dtype: DType, bits: u64) -> bool {
    let infinity: u64 = match dtype {
        DType::F32 => 0x7f80_0000,
        DType::F16 => 0x7c00,
        DType::BF16 => 0x7f80,
        DType::F64 | DType::I64 | DType::I32 | DType::U8 | DType::Bool => 0x7ff0_0000_0000_0000,
    };
    bits & infinity != infinity
}

/// The elements of a literal that is being read.
struct Elements {
    /// Not known before the first element, if nothing is said before the list.
    dtype: Option<DType>,
    /// Whether the element type was written.
    fixed: bool,
    bytes: Vec<u8>,
}

impl Elements {
    fn new(dtype: Option<DType>) -> Elements {
        Elements { dtype, fixed: dtype.is_some(), bytes: vec![] }
    }

    fn push(&mut self, dtype: DType, bits: u64) {
        self.bytes.extend_from_slice(&bits.to_le_bytes()[..dtype.size()]);
    }

    /// Turns the whole numbers read so far into floats, when the first float comes.
    fn become_floats(&mut self) {
        let integers = self.bytes.chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap_or_default()));
        self.bytes = integers.flat_map(|integer| (integer as f32).to_le_bytes()).collect();
        self.dtype = Some(DType::F32);
    }
}

/// Whether a number is written as a float.
fn is_float(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
}

/// Whether a number, as the lexer sees it, is a decimal: an optional sign, digits, a point, an exponent.
fn is_decimal(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
}

impl Parser<'_> {
    /// Whether the current word begins a literal and not a call.
    pub(super) fn begins_literal(&self) -> bool {
        match self.text_of(self.token) {
            "true" | "false" | "inf" | "-inf" | "nan" | "tensor" => true,
            word => word.starts_with('-') || (DType::from_name(word).is_some() && matches!(self.lexer.byte(0), b'[' | b'(')),
        }
    }

    fn not_a_number(&mut self, token: Token) -> Reported {
        let text = self.text_of(token);
        let error = Diagnostic::error(Code::E0006, format!("{} is not a number", quote(text))).label(self.span(token), "cannot be read");
        let hex = text.trim_start_matches('-').strip_prefix("0x").and_then(|digits| i64::from_str_radix(digits, 16).ok());
        let plain = text.replace('_', "");
        let error = match hex {
            Some(number) => error.help(format!("numbers are decimal: `{number}`")),
            None if text.contains('_') && plain.len() < 30 && is_decimal(&plain) => error.help(format!("write `{plain}`")),
            None => error,
        };
        self.report(error)
    }

    fn out_of_range(&mut self, token: Token, dtype: DType) -> Reported {
        let (text, span) = (self.text_of(token), self.span(token));
        let error = Diagnostic::error(Code::E0006, format!("{} is out of range for {dtype}", quote(text)));
        self.report(error.label(span, format!("no {dtype} is that {}", if text.starts_with('-') { "small" } else { "large" })))
    }

    /// Reads a whole number.
    pub(super) fn integer(&mut self) -> Read<i64> {
        let token = self.advance();
        let text = self.text_of(token);
        if let Ok(value) = text.parse() {
            return Ok(value);
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.out_of_range(token, DType::I64));
        }
        if is_float(text) && text.parse::<f64>().is_ok() {
            let error = Diagnostic::error(Code::E0006, format!("{} is not a whole number", quote(text)));
            let error = error.label(self.span(token), "expected a whole number");
            return Err(self.report(error));
        }
        Err(self.not_a_number(token))
    }

    /// Reads a number as an attribute.
    pub(super) fn float(&mut self) -> Read<Float> {
        Ok(Float::new(f64::from_bits(self.float_element(DType::F64)?)))
    }

    /// Reads a number of a floating point type; the current token is a number or a word.
    fn float_element(&mut self, dtype: DType) -> Read<u64> {
        let token = self.advance();
        let text = self.text_of(token);
        if token.kind == Kind::Number {
            let bits = if is_decimal(text) { float_bits(dtype, text) } else { None };
            let Some(bits) = bits else { return Err(self.not_a_number(token)) };
            if !is_finite(dtype, bits) {
                return Err(self.out_of_range(token, dtype));
            }
            return Ok(bits);
        }
        match text {
            "inf" => Ok(float_bits(dtype, "inf").unwrap_or_default()),
            "-inf" => Ok(float_bits(dtype, "-inf").unwrap_or_default()),
            "nan" if self.eat(b'(') => self.nan_bits(dtype),
            "nan" => Ok(quiet_nan(dtype)),
            _ => {
                let error = Diagnostic::error(Code::E0006, format!("expected a number, found {}", quote(text)));
                let error = error.label(self.span(token), format!("not a number of type {dtype}"));
                let error = if text == "-nan" { error.help("a NaN has a sign only in its bits: `nan(0x…)`") } else { error };
                Err(self.report(error))
            }
        }
    }

    /// Reads `0x7fc00001)`, after `nan(`.
    fn nan_bits(&mut self, dtype: DType) -> Read<u64> {
        let token = self.token;
        let bits = self.text_of(token).strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
        match bits {
            Some(bits) if is_nan(dtype, bits) => {
                self.advance();
                self.expect(b')', "`)`")?;
                Ok(bits)
            }
            Some(_) => {
                let error = Diagnostic::error(Code::E0006, format!("{} is not a NaN of type {dtype}", quote(self.text_of(token))));
                let help = format!("the usual one is `nan`, with the bits 0x{:x}", quiet_nan(dtype));
                Err(self.report(error.label(self.span(token), "these are not the bits of a NaN").help(help)))
            }
            None => Err(self.unexpected("the bits of the NaN, such as `0x7fc00001`")),
        }
    }

    /// Reads one element.
    fn element(&mut self, into: &mut Elements) -> Read<()> {
        let token = self.token;
        let text = self.text_of(token);
        let (number, flag) = (token.kind == Kind::Number, matches!(text, "true" | "false"));
        if !number && token.kind != Kind::Ident {
            return Err(self.unexpected("an element: a number, `true` or `false`"));
        }
        let dtype = match into.dtype {
            Some(DType::I64) if !into.fixed && !flag && (!number || is_float(text)) => {
                into.become_floats();
                DType::F32
            }
            Some(dtype) => dtype,
            None if flag => DType::Bool,
            None if number && !is_float(text) => DType::I64,
            None => DType::F32,
        };
        into.dtype = Some(dtype);
        if flag != (dtype == DType::Bool) && (flag || number) {
            let error = if into.fixed {
                let message = if flag { format!("`{text}` is not a number") } else { format!("{} is not a bool", quote(text)) };
                Diagnostic::error(Code::E0006, message).label(self.span(token), format!("not an element of type {dtype}"))
            } else {
                let error = Diagnostic::error(Code::E0006, "a list holds numbers or bools, not both");
                error.label(self.span(token), if flag { "a bool after numbers" } else { "a number after bools" })
            };
            return Err(self.report(error));
        }
        match dtype {
            DType::Bool if flag => {
                self.advance();
                into.push(dtype, u64::from(text == "true"));
            }
            DType::I64 | DType::I32 | DType::U8 if number => {
                let value = self.integer()?;
                let fits = match dtype {
                    DType::I32 => i32::try_from(value).is_ok(),
                    DType::U8 => u8::try_from(value).is_ok(),
                    _ => true,
                };
                if !fits {
                    return Err(self.out_of_range(token, dtype));
                }
                // Two's complement: the low bytes are the value.
                into.push(dtype, value as u64);
            }
            DType::F64 | DType::F32 | DType::F16 | DType::BF16 => {
                let bits = self.float_element(dtype)?;
                into.push(dtype, bits);
            }
            DType::I64 | DType::I32 | DType::U8 | DType::Bool => {
                let error = Diagnostic::error(Code::E0006, format!("{} is not an element of type {dtype}", quote(text)));
                return Err(self.report(error.label(self.span(token), format!("expected an element of type {dtype}"))));
            }
        }
        Ok(())
    }

    /// Reads a literal.
    pub(super) fn literal(&mut self) -> Read<Literal> {
        let start = self.token;
        match start.kind {
            Kind::Str => return Ok(Literal::Str(self.string("a string")?)),
            Kind::Punct(b'[') => return self.list(start, Elements::new(None)),
            Kind::Ident => {
                let word = self.text_of(start);
                if word == "tensor" {
                    return self.flat_literal();
                }
                if let Some(dtype) = DType::from_name(word) {
                    self.advance();
                    if self.is(b'[') {
                        return self.list(start, Elements::new(Some(dtype)));
                    }
                    self.expect(b'(', "`(` or `[`")?;
                    let mut elements = Elements::new(Some(dtype));
                    self.element(&mut elements)?;
                    self.expect(b')', "`)`")?;
                    return self.tensor(start, elements, Sizes::new());
                }
            }
            _ => {}
        }
        let mut elements = Elements::new(None);
        self.element(&mut elements)?;
        self.tensor(start, elements, Sizes::new())
    }

    /// The elements as a tensor. Their number fits the sizes, unless the sizes cannot be multiplied at all.
    fn tensor(&mut self, start: Token, elements: Elements, sizes: Sizes) -> Read<Literal> {
        match Tensor::from_le_bytes(elements.dtype.unwrap_or(DType::F32), &sizes, &elements.bytes) {
            Some(tensor) => Ok(Literal::from(&tensor)),
            None => {
                let error = Diagnostic::error(Code::E0006, "the sizes of the literal are too large");
                Err(self.report(error.label(self.span_from(start.start), "")))
            }
        }
    }

    /// Reads `tensor<0x3xf32>()`, with the elements in a row.
    fn flat_literal(&mut self) -> Read<Literal> {
        let start = self.advance();
        let ty = self.tensor_type()?;
        let shape_span = self.span_from(start.start);
        let sizes: Option<Sizes> = ty.shape.iter().map(|dim| dim.as_usize()).collect();
        let Some(sizes) = sizes else {
            let error = Diagnostic::error(Code::E0006, "the sizes of a literal are numbers");
            return Err(self.report(error.label(shape_span, "a size is not known")));
        };
        let mut elements = Elements::new(Some(ty.dtype));
        let open = self.token;
        self.expect(b'(', "`(` and the elements")?;
        let mut more = !self.eat(b')');
        while more {
            self.element(&mut elements)?;
            more = self.separator(b')', open, "the elements")?;
        }
        let count = elements.bytes.len() / ty.dtype.size();
        let needed = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        if needed.is_some_and(|needed| needed != count) {
            let needed = needed.unwrap_or_default();
            let error = Diagnostic::error(Code::E0006, format!("the literal has {count} elements, its type {needed}"));
            let error =
                error.label(shape_span, format!("{needed} elements")).label(self.span_from(open.start), format!("{count} elements"));
            return Err(self.report(error));
        }
        self.tensor(start, elements, sizes)
    }

    /// Reads nested lists. Without recursion: the state is the number of elements in each open list.
    fn list(&mut self, start: Token, mut elements: Elements) -> Read<Literal> {
        /// The length of the first list at a depth, and where it is.
        type Level = Option<(usize, Span)>;
        let mut levels: Vec<Level> = vec![];
        let mut open: Vec<(usize, Token)> = vec![];
        // How deep the numbers stand.
        let mut leaves: Option<usize> = None;
        loop {
            let token = self.token;
            // An element or the beginning of a list.
            let nested = self.is(b'[');
            if !open.is_empty() && leaves.is_some_and(|depth| nested == (depth == open.len())) {
                let error = Diagnostic::error(Code::E0006, "a list holds numbers or lists, not both");
                return Err(
                    self.report(error.label(self.span(token), if nested { "a list after numbers" } else { "a number after lists" }))
                );
            }
            if nested {
                if open.len() == MAX_NESTING {
                    let error = Diagnostic::error(Code::E4001, format!("lists are nested more than {MAX_NESTING} deep"));
                    return Err(self.report(error.label(self.span(token), "this list is too deep")));
                }
                self.advance();
                if let Some((count, _)) = open.last_mut() {
                    *count += 1;
                }
                open.push((0, token));
                if levels.len() < open.len() {
                    levels.push(None);
                }
                if !self.is(b']') {
                    continue;
                }
            } else {
                self.element(&mut elements)?;
                leaves = Some(open.len());
                if let Some((count, _)) = open.last_mut() {
                    *count += 1;
                }
            }
            // Commas and the ends of lists.
            while let Some(&(count, opened)) = open.last() {
                let fresh = count == 0;
                if !fresh && self.eat(b',') && !self.is(b']') {
                    break;
                }
                if !self.eat(b']') {
                    let error = self.unexpected_diagnostic("`,` or `]`");
                    return Err(self.report(error.label(self.span(opened), "the list begins here")));
                }
                open.pop();
                let span = self.span_from(opened.start);
                match &levels[open.len()] {
                    None => levels[open.len()] = Some((count, span)),
                    Some((first, place)) if *first != count => {
                        let error = Diagnostic::error(Code::E0006, "the lists of a literal have different lengths")
                            .label(span, format!("{count} here"))
                            .label(place.clone(), format!("{first} here"));
                        return Err(self.report(error));
                    }
                    Some(_) => {}
                }
            }
            if open.is_empty() {
                break;
            }
        }
        if elements.dtype.is_none() {
            let error = Diagnostic::error(Code::E0006, "the element type of an empty list is not known");
            return Err(self.report(error.label(self.span_from(start.start), "").help("write the type before it, such as `i64[]`")));
        }
        let sizes: Sizes = levels.iter().map(|level| level.as_ref().map_or(0, |(size, _)| *size)).collect();
        self.tensor(start, elements, sizes)
    }
}
