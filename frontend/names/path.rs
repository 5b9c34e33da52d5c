//! Names as chains of accesses, as Python has them: `model.layers[5].self_attn.inputs[1]["hidden_states"]`.

use irc_ir::{code::Code, diagnostic::Diagnostic};

/// One step of a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// `.mlp`
    Name(String),
    /// `[5]`, `[-1]`, or the same as a component, `.5`
    Index(i64),
    /// `["hidden_states"]`
    Key(String),
}

/// Reads a name.
///
/// # Errors
/// E2001 if it is not one: an empty component, a bracket that is not closed, a slice.
pub fn parse(text: &str) -> Result<Vec<Access>, Diagnostic> {
    let wrong = |what: &str| Diagnostic::error(Code::E2001, format!("`{text}` is not the name of a hook: {what}"));
    let mut accesses = vec![];
    let mut rest = text;
    loop {
        let end = rest.find(['.', '[', ']']).unwrap_or(rest.len());
        let (component, after) = rest.split_at(end);
        match number(component) {
            _ if component.is_empty() => return Err(wrong("a component is empty")),
            Some(index) => accesses.push(Access::Index(index)),
            None => accesses.push(Access::Name(component.to_owned())),
        }
        rest = after;
        while let Some(inside) = rest.strip_prefix('[') {
            let (inside, after) = inside.split_once(']').ok_or_else(|| wrong("a bracket is not closed"))?;
            let quoted = ['"', '\''].into_iter().find_map(|quote| inside.strip_prefix(quote)?.strip_suffix(quote));
            accesses.push(match (quoted, number(inside)) {
                (Some(key), _) => Access::Key(key.to_owned()),
                (None, Some(index)) => Access::Index(index),
                (None, None) => {
                    let error = wrong(&format!("`[{inside}]` is neither an index nor a key"));
                    return Err(error
                        .help("a part of a tensor is taken afterwards: `trace.hook(…).at((.., -1))`, `slice` and `index` in a program"));
                }
            });
            rest = after;
        }
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Ok(accesses),
            None => return Err(wrong("a `.` is missing after a bracket, or a bracket too many")),
        }
    }
}

fn number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Accesses as they are written in Python: `[1]["hidden_states"]`.
pub fn show(accesses: &[Access]) -> String {
    let one = |access: &Access| match access {
        Access::Name(name) => format!(".{name}"),
        Access::Index(index) => format!("[{index}]"),
        Access::Key(key) => format!("[{key:?}]"),
    };
    accesses.iter().map(one).collect()
}
