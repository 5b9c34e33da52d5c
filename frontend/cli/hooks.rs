//! `irc model hooks`: what can be read and set in a model, with layers that are alike put together.

use std::collections::HashMap;

use irc_ir::{code::Code, diagnostic::Diagnostic};
use serde_json::json;

use super::{
    args::HooksArgs,
    failure::Outcome,
    terminal::{Terminal, count},
};
use crate::models::Model;

pub(super) fn hooks(args: &HooksArgs, model: &Model, terminal: &Terminal) -> Outcome {
    let spec = model.spec();
    let found: Vec<(&str, String)> = spec
        .hook_ids()
        .filter(|(_, hook)| args.pattern.as_deref().is_none_or(|pattern| matches(pattern, &hook.name)))
        .map(|(id, hook)| (&*hook.name, spec.hook_type(id).to_string()))
        .collect();
    if let (Some(pattern), true) = (&args.pattern, found.is_empty()) {
        return Err(no_match(pattern, model).into());
    }
    if args.json {
        let hooks: Vec<_> = found.iter().map(|(name, ty)| json!({ "name": name, "type": ty })).collect();
        return terminal.print_json(&json!({ "ok": true, "model": model.name(), "hooks": hooks }));
    }
    let grouped = !args.all && terminal.watched;
    let rows = if grouped { group(&found) } else { found.iter().map(|(name, ty)| (name.to_string(), ty.clone())).collect() };
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: String = rows.iter().map(|(name, ty)| format!("{name:width$}  {}\n", terminal.dim(ty))).collect();
    terminal.print(&lines)?;
    if grouped && rows.len() < found.len() {
        terminal.say(&format!("{} on {}; `--all` shows each", count(found.len(), "hook"), count(rows.len(), "line")));
    }
    Ok(())
}

fn no_match(pattern: &str, model: &Model) -> Diagnostic {
    // What a misspelt part of a name may have meant: the parts of names that have as many words.
    let words = pattern.split('.').count();
    let names = model.spec().hooks().iter().map(|hook| hook.name.split('.').collect::<Vec<_>>());
    let mut parts: Vec<String> = names.flat_map(|name| name.windows(words).map(|part| part.join(".")).collect::<Vec<_>>()).collect();
    parts.sort_unstable();
    parts.dedup();
    Diagnostic::error(Code::E4004, format!("no hook of `{}` matches `{pattern}`", model.name()))
        .suggest(pattern, parts.iter().map(String::as_str))
        .help(format!("`irc model hooks {}` lists all of them", model.name()))
}

/// Names that differ in their first number only, and have one type, on one line: `layers.{0..29}.output`.
fn group(hooks: &[(&str, String)]) -> Vec<(String, String)> {
    let mut order: Vec<(&str, &str, &str, Vec<u64>)> = vec![];
    let mut places: HashMap<(&str, &str, &str), usize> = HashMap::new();
    for (name, ty) in hooks {
        let (before, number, after) = split_number(name);
        let place = *places.entry((before, after, ty)).or_insert_with(|| {
            order.push((before, after, ty, vec![]));
            order.len() - 1
        });
        order[place].3.extend(number);
    }
    let line = |(before, after, ty, numbers): (&str, &str, &str, Vec<u64>)| (format!("{before}{}{after}", ranges(&numbers)), ty.to_owned());
    order.into_iter().map(line).collect()
}

/// A name before, at and after the first of its parts that is a number.
fn split_number(name: &str) -> (&str, Option<u64>, &str) {
    let mut start = 0;
    for part in name.split('.') {
        if let (Ok(number), true) = (part.parse(), part.bytes().all(|byte| byte.is_ascii_digit())) {
            return (&name[..start], Some(number), &name[start + part.len()..]);
        }
        start += part.len() + 1;
    }
    (name, None, "")
}

/// Numbers in short: `7`, `{0..29}`, `{0..3,7}`.
fn ranges(numbers: &[u64]) -> String {
    let parts: Vec<String> = numbers
        .chunk_by(|a, b| *b == a + 1)
        .filter_map(|run| match run {
            [] => None,
            [one] => Some(one.to_string()),
            [first, .., last] => Some(format!("{first}..{last}")),
        })
        .collect();
    match (numbers, parts.as_slice()) {
        ([] | [_], _) => parts.concat(),
        _ => format!("{{{}}}", parts.join(",")),
    }
}

/// Whether a name is what a pattern means: a part of it, or with wildcards all of it.
fn matches(pattern: &str, name: &str) -> bool {
    if pattern.contains(['*', '?', '{']) { glob(pattern, name) } else { name.contains(pattern) }
}

/// `*` is anything, `?` one character, `{0..3,7}` one of these numbers.
fn glob(pattern: &str, name: &str) -> bool {
    // What of the name may be left after the pattern so far; sets instead of backtracking, so no pattern takes long.
    let mut left = vec![name];
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let mut after = c.len_utf8();
        let mut next: Vec<&str> = vec![];
        match (c, rest.find('}')) {
            ('*', _) => next.extend(left.iter().max_by_key(|left| left.len()).into_iter().flat_map(|left| suffixes(left))),
            ('{', Some(end)) => {
                after = end + 1;
                let number = |left: &&str| left.len() - left.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                let listed = left.iter().filter(|left| left[..number(left)].parse().is_ok_and(|number| lists(&rest[1..end], number)));
                next.extend(listed.map(|left| &left[number(left)..]));
            }
            _ => next.extend(left.iter().filter_map(|left| {
                let first = left.chars().next()?;
                (c == '?' || c == first).then(|| &left[first.len_utf8()..])
            })),
        }
        next.dedup();
        (left, rest) = (next, &rest[after..]);
    }
    left.contains(&"")
}

fn suffixes(text: &str) -> impl Iterator<Item = &str> {
    text.char_indices().map(|(at, _)| &text[at..]).chain([""])
}

/// Whether a number is in a list like `0..3,7`.
fn lists(list: &str, number: u64) -> bool {
    list.split(',').any(|part| match part.split_once("..") {
        Some((first, last)) => {
            matches!((first.trim().parse::<u64>(), last.trim().parse::<u64>()), (Ok(first), Ok(last)) if (first..=last).contains(&number))
        }
        None => part.trim().parse() == Ok(number),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_that_are_alike_share_a_line() {
        let ty = "tensor<BxTx4xf32>".to_owned();
        let names = [
            "model.input",
            "model.layers.0.input",
            "model.layers.0.output",
            "model.layers.1.input",
            "model.layers.3.input",
            "lm_head.output",
        ];
        let hooks: Vec<(&str, String)> = names.iter().map(|name| (*name, ty.clone())).collect();
        let lines: Vec<String> = group(&hooks).into_iter().map(|(name, _)| name).collect();
        assert_eq!(lines, ["model.input", "model.layers.{0..1,3}.input", "model.layers.0.output", "lm_head.output"]);
        assert!(
            names.iter().filter(|name| matches(&lines[1], name)).eq([
                "model.layers.0.input",
                "model.layers.1.input",
                "model.layers.3.input"
            ]
            .iter())
        );
    }

    #[test]
    fn patterns() {
        assert!(matches("mlp", "model.layers.11.mlp.output"));
        assert!(matches("*.mlp.*put", "model.layers.11.mlp.output"));
        assert!(matches("model.layers.{9..12}.*", "model.layers.11.mlp.output"));
        assert!(!matches("model.layers.{0..3}.*", "model.layers.11.mlp.output"));
        assert!(matches("model.layers.?.input", "model.layers.1.input"));
        assert!(!matches("model.layers.?.input", "model.layers.11.input"));
        assert!(!matches("*******************************x", &"a".repeat(10_000)));
    }
}
