//! From characters to tokens. Tokens are ranges of the text, made when they are asked for: reading allocates nothing.
//!
//! Every byte sequence lexes: what has no meaning becomes a token that says so, and the parser decides what to report.

use std::borrow::Cow;

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A word, or `-inf`.
    Ident,
    /// Something that begins like a number; whether it is one is seen when it is read.
    Number,
    /// `%name`, `%0` or `%"name"`.
    Value,
    /// `@name` or `@"name"`.
    GraphName,
    /// A string with its quotes.
    Str,
    /// A string, or the quoted name of a value or graph, that the line ends before it is closed.
    OpenStr,
    /// One of `(){}[]<>,:=`.
    Punct(u8),
    /// A character that has no meaning outside strings and comments.
    Unknown,
    /// The end of the text, without characters.
    End,
}

/// A range of the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether it is the first of its line.
    pub(super) first: bool,
}

/// Reads tokens from a place in a text onwards.
#[derive(Clone, Copy)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    /// The byte after the last token.
    pub(super) at: usize,
}

/// Whether a byte can stand in a word after its first letter.
const fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether a text is a word of this language, so that it needs no quotes where names are expected.
pub(super) fn is_identifier(text: &str) -> bool {
    text.bytes().all(in_word) && text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

/// Whether a text consists of digits, as the names of values that have none.
pub(super) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        // Some editors begin a file with a byte order mark.
        Lexer { text, at: if text.starts_with('\u{feff}') { 3 } else { 0 } }
    }

    /// The byte at a distance from the current place; 0 beyond the end.
    pub(super) fn byte(&self, distance: usize) -> u8 {
        self.text.as_bytes().get(self.at + distance).copied().unwrap_or(0)
    }

    fn skip_while(&mut self, holds: impl Fn(u8) -> bool) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().position(|&byte| !holds(byte)).unwrap_or(rest.len());
    }

    /// Skips spaces, line breaks and comments; whether there was a line break.
    pub(super) fn skip_space(&mut self) -> bool {
        let mut line = self.at == 0;
        loop {
            match self.byte(0) {
                b'\n' => (line, self.at) = (true, self.at + 1),
                b' ' | b'\t' | b'\r' => self.at += 1,
                b'/' if self.byte(1) == b'/' => self.skip_while(|byte| byte != b'\n'),
                _ => return line,
            }
        }
    }

    pub(super) fn next(&mut self) -> Token {
        let first = self.skip_space();
        let start = self.at;
        let kind = match self.byte(0) {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.word(),
            b'0'..=b'9' => self.number(),
            b'-' if self.byte(1).is_ascii_digit() || self.byte(1) == b'.' => self.number(),
            b'-' if self.byte(1).is_ascii_alphabetic() => self.word(),
            b'.' if self.byte(1).is_ascii_digit() => self.number(),
            b'"' => self.string(Kind::Str),
            b'%' => self.sigil(Kind::Value),
            b'@' => self.sigil(Kind::GraphName),
            byte @ (b'(' | b')' | b'{' | b'}' | b'[' | b']' | b'<' | b'>' | b',' | b':' | b'=') => {
                self.at += 1;
                Kind::Punct(byte)
            }
            _ => match self.text[self.at..].chars().next() {
                Some(character) => {
                    self.at += character.len_utf8();
                    Kind::Unknown
                }
                None => Kind::End,
            },
        };
        Token { kind, start, end: self.at, first }
    }

    fn word(&mut self) -> Kind {
        self.at += 1;
        self.skip_while(in_word);
        Kind::Ident
    }

    /// Takes in whatever is written against the digits, so that `12ab` is one mistake and not two tokens.
    fn number(&mut self) -> Kind {
        self.at += 1;
        loop {
            self.skip_while(|byte| in_word(byte) || byte == b'.');
            let exponent = matches!(self.byte(0), b'+' | b'-') && matches!(self.text.as_bytes()[self.at - 1], b'e' | b'E');
            if !(exponent && self.byte(1).is_ascii_digit()) {
                return Kind::Number;
            }
            self.at += 1;
        }
    }

    fn sigil(&mut self, kind: Kind) -> Kind {
        self.at += 1;
        if self.byte(0) == b'"' {
            return self.string(kind);
        }
        let start = self.at;
        self.skip_while(in_word);
        if self.at == start { Kind::Unknown } else { kind }
    }

    fn string(&mut self, closed: Kind) -> Kind {
        self.at += 1;
        loop {
            self.skip_while(|byte| !matches!(byte, b'"' | b'\\' | b'\n'));
            match (self.byte(0), self.byte(1)) {
                (b'"', _) => {
                    self.at += 1;
                    return closed;
                }
                (b'\\', b'"' | b'\\') => self.at += 2,
                (b'\\', _) => self.at += 1,
                _ => return Kind::OpenStr,
            }
        }
    }
}

/// What a string says, given what stands between its quotes; otherwise the range of the escape that means nothing.
pub(super) fn unescape(quoted: &str) -> Result<Cow<'_, str>, std::ops::Range<usize>> {
    if !quoted.contains('\\') {
        return Ok(Cow::Borrowed(quoted));
    }
    let mut out = String::with_capacity(quoted.len());
    let mut rest = quoted;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at..];
        let start = quoted.len() - escape.len();
        let mut characters = escape[1..].chars();
        let (character, length) = match characters.next() {
            Some('n') => ('\n', 2),
            Some('r') => ('\r', 2),
            Some('t') => ('\t', 2),
            Some('0') => ('\0', 2),
            Some(same @ ('"' | '\\')) => (same, 2),
            Some('u') => {
                // At most six digits, so that the search for the brace does not run away.
                let digits = escape.strip_prefix("\\u{").and_then(|rest| rest.get(..rest.bytes().take(7).position(|byte| byte == b'}')?));
                let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
                let character = digits.and_then(|digits| char::from_u32(u32::from_str_radix(digits, 16).ok()?));
                match (character, digits) {
                    (Some(character), Some(digits)) => (character, digits.len() + 4),
                    _ => return Err(start..start + 2),
                }
            }
            other => return Err(start..start + 1 + other.map_or(0, char::len_utf8)),
        };
        out.push(character);
        rest = &escape[length..];
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        assert_eq!(unescape(r#"a\n\u{1F600}\"\\ é"#).unwrap(), "a\n😀\"\\ é");
        assert_eq!(unescape(r"ab\q"), Err(2..4));
        for wrong in [r"\u{}", r"\u{d800}", r"\u{1234567}", r"\u{12", r"\u", r"\u{é", r"\u{12345é}", r"\u{123456é}"] {
            assert_eq!(unescape(wrong), Err(0..2), "{wrong}");
        }
    }

    #[test]
    fn tokens() {
        let text = "%a = -1.5e-3 -inf %\"b c\" // x\n\"open\n12ab;";
        let mut lexer = Lexer::new(text);
        let tokens = std::iter::from_fn(|| Some(lexer.next()).filter(|token| token.kind != Kind::End));
        let seen: Vec<(Kind, &str)> = tokens.map(|token| (token.kind, &text[token.start..token.end])).collect();
        let expected = [
            (Kind::Value, "%a"),
            (Kind::Punct(b'='), "="),
            (Kind::Number, "-1.5e-3"),
            (Kind::Ident, "-inf"),
            (Kind::Value, "%\"b c\""),
            (Kind::OpenStr, "\"open"),
            (Kind::Number, "12ab"),
            (Kind::Unknown, ";"),
        ];
        assert_eq!(seen, expected);
    }
}
