//! Patterns of names: `model.layers.*.mlp.output`.
//!
//! | in a pattern | matches |
//! |---|---|
//! | `*` | one component, or a part of one: `layers.*.mlp`, `*_proj` |
//! | `**` | any number of components, also none: `**.output` |
//! | `?` | one character |
//! | `{0..3,7}` | one of these numbers, the last one of a range included |
//! | `{-2..-1}`, `-1` | the same, counted from the end of the list |
//! | `{q,k,v}` | one of these words |
//! | `[5]` | as `.5` |

use irc_ir::{code::Code, diagnostic::Diagnostic};

/// The longest pattern that is looked at.
const LIMIT: usize = 1000;

/// Whether a text has something in it that only patterns have.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '{'])
}

/// A pattern of names.
#[derive(Clone, Debug)]
pub struct Pattern {
    components: Vec<String>,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// E2001 if a brace is not closed, or it is longer than any name.
    pub fn new(text: &str) -> Result<Pattern, Diagnostic> {
        let wrong = |what: &str| Diagnostic::error(Code::E2001, format!("the pattern cannot be read: {what}"));
        if text.len() > LIMIT {
            return Err(wrong(&format!("it is longer than {LIMIT} bytes")));
        }
        let (mut components, mut open) = (vec![String::new()], false);
        for c in text.chars() {
            match c {
                '{' => open = true,
                '}' => open = false,
                ']' if !open => continue,
                '.' | '[' if !open => {
                    components.push(String::new());
                    continue;
                }
                _ => {}
            }
            if let Some(last) = components.last_mut() {
                last.push(c);
            }
        }
        if open {
            return Err(wrong("a `{` is not closed").help("write `{0..3}` or `{q,k,v}`"));
        }
        Ok(Pattern { components })
    }

    /// Whether a name is one of those that the pattern means. `count` is how many numbered children the module of a path
    /// has; negative numbers count from there.
    pub fn matches(&self, name: &str, count: &dyn Fn(&str) -> u64) -> bool {
        // Which of the pattern's components may come next; sets instead of backtracking, so no pattern takes long.
        let mut next = vec![false; self.components.len() + 1];
        next[0] = true;
        self.skip(&mut next);
        let mut start = 0;
        for component in name.split('.') {
            let from_end = |number: u64| {
                let count = count(name[..start].trim_end_matches('.'));
                i64::try_from(number).ok()?.checked_sub(i64::try_from(count).ok()?)
            };
            let mut after = vec![false; next.len()];
            for (at, pattern) in self.components.iter().enumerate().filter(|(at, _)| next[*at]) {
                match &**pattern {
                    "**" => after[at] = true,
                    pattern if is_component(pattern, component, &from_end) => after[at + 1] = true,
                    _ => {}
                }
            }
            next = after;
            self.skip(&mut next);
            start += component.len() + 1;
        }
        next[self.components.len()]
    }

    /// `**` may also stand for nothing.
    fn skip(&self, next: &mut [bool]) {
        for (at, component) in self.components.iter().enumerate() {
            if next[at] && component == "**" {
                next[at + 1] = true;
            }
        }
    }
}

/// Whether a component of a name is what a component of a pattern means. `from_end` is a number counted from the end of
/// the list that it is an index of.
fn is_component(pattern: &str, component: &str, from_end: &dyn Fn(u64) -> Option<i64>) -> bool {
    if let (Some(number), true) = (pattern.strip_prefix('-'), component.bytes().all(|byte| byte.is_ascii_digit())) {
        let from_end = component.parse().ok().and_then(from_end);
        return from_end.is_some() && number.parse::<i64>().ok().map(|number| -number) == from_end;
    }
    // What of the component may be left after the pattern so far.
    let mut left = vec![component];
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let mut after = c.len_utf8();
        let mut next: Vec<&str> = vec![];
        match (c, rest.find('}')) {
            ('*', _) => next.extend(left.iter().max_by_key(|left| left.len()).into_iter().flat_map(|left| suffixes(left))),
            ('{', Some(end)) => {
                after = end + 1;
                next.extend(left.iter().flat_map(|left| after_one_of(&rest[1..end], left, from_end)));
            }
            _ => next.extend(left.iter().filter_map(|left| {
                let first = left.chars().next()?;
                (c == '?' || c == first).then(|| &left[first.len_utf8()..])
            })),
        }
        next.sort_unstable_by_key(|left| left.len());
        next.dedup();
        (left, rest) = (next, &rest[after..]);
    }
    left.contains(&"")
}

fn suffixes(text: &str) -> impl Iterator<Item = &str> {
    text.char_indices().map(|(at, _)| &text[at..]).chain([""])
}

/// What is left of a text after one of the entries of a list like `0..3,-1` or `q,k,v`.
fn after_one_of<'t>(list: &str, text: &'t str, from_end: &dyn Fn(u64) -> Option<i64>) -> Vec<&'t str> {
    let (digits, after) = text.split_at(text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len());
    let number = digits.parse::<u64>().ok();
    let is = |written: i64| match written {
        ..0 => number.and_then(from_end) == Some(written),
        _ => number == Some(written.unsigned_abs()),
    };
    let between = |first: i64, last: i64| {
        let number = number.and_then(|number| if first < 0 { from_end(number) } else { i64::try_from(number).ok() });
        number.is_some_and(|number| (first..=last).contains(&number))
    };
    let one = |entry: &str| match entry.split_once("..") {
        Some((first, last)) => match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) => between(first, last).then_some(after),
            _ => None,
        },
        None => match entry.trim().parse() {
            Ok(written) => is(written).then_some(after),
            Err(_) => text.strip_prefix(entry.trim()),
        },
    };
    list.split(',').filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        let count = |parent: &str| if parent == "model.layers" { 12 } else { 0 };
        Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(name, &count))
    }

    #[test]
    fn patterns() {
        let name = "model.layers.11.mlp.output";
        for yes in [
            "model.layers.*.mlp.output",
            "**.mlp.*put",
            "**",
            "**.**.output",
            "model.**.output",
            "model.layers.{9..12}.*.*",
            "model.layers.{0,11}.**",
            "model.layers.-1.mlp.{input,output}",
            "model.layers[-1].**",
            "model.layers.{-2..-1}.**",
            "model.layers.1?.m*p.output",
            "model.layers[*].mlp.out{put}",
        ] {
            assert!(matches(yes, name), "{yes}");
        }
        for no in [
            "*",
            "*.mlp.output",
            "model.layers.{0..3}.**",
            "model.layers.?.mlp.output",
            "model.layers.-2.mlp.output",
            "model.layers.{-3..-2}.**",
            "model.layers.{q,k}.mlp.output",
            "model.layers.*.mlp",
            "**.input",
            "",
        ] {
            assert!(!matches(no, name), "{no}");
        }
        assert!(matches("**.h??k_{q,k,v}", "blocks.0.attn.hook_q"));
        // No pattern takes long.
        assert!(!matches(&("*".repeat(30) + "x"), &"a".repeat(10_000)));
        assert!(!matches(&("**.".repeat(300) + "x"), &"a.".repeat(5_000)));
        assert!(!matches(&"{9..,..9,-..9,}".repeat(50), &"9".repeat(5_000)));
        assert!(Pattern::new("a{b").is_err() && Pattern::new(&"*".repeat(2_000)).is_err());
    }
}
