//! `irc model hooks`: what can be read and set in a model, with layers that are alike put together.

use std::collections::HashMap;

use irc_ir::{
    code::Code,
    diagnostic::Diagnostic,
    model::{HookId, ModelSpec},
};
use serde_json::json;

use super::{
    args::HooksArgs,
    failure::Outcome,
    terminal::{Terminal, columns, count},
};
use crate::{
    models::Model,
    names::{self, pattern::is_pattern, transformer_lens},
};

pub(super) fn hooks(args: &HooksArgs, model: &Model, terminal: &Terminal) -> Outcome {
    let spec = model.spec();
    let wanted = match &args.pattern {
        Some(pattern) => named(spec, pattern).map_err(|error| {
            Diagnostic { code: Code::E4004, ..error }.help(format!("`irc model hooks {}` lists all of them", model.name()))
        })?,
        None => spec.hook_ids().map(|(hook, _)| hook).collect(),
    };
    if args.transformer_lens {
        return aliases(args, model, &wanted, terminal);
    }
    let found: Vec<(&str, String)> = wanted.iter().map(|hook| (&*spec.hook_info(*hook).name, spec.hook_type(*hook).to_string())).collect();
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

/// The hooks that a pattern names; those that have a text in their names; or the one that a text is another name of.
fn named(spec: &ModelSpec, pattern: &str) -> Result<Vec<HookId>, Diagnostic> {
    if is_pattern(pattern) {
        return names::hooks(spec, pattern);
    }
    let found: Vec<HookId> = spec.hook_ids().filter(|(_, hook)| hook.name.contains(pattern)).map(|(hook, _)| hook).collect();
    if found.is_empty() {
        names::hook(spec, pattern).map(|hook| vec![hook]).map_err(|error| {
            // A part of a name may be meant, too.
            let near = names::no_match(spec, pattern);
            if error.help.is_empty() || !near.help.is_empty() { near } else { error }
        })
    } else {
        Ok(found)
    }
}

/// What TransformerLens calls these hooks, and which of its names mean none.
fn aliases(args: &HooksArgs, model: &Model, wanted: &[HookId], terminal: &Terminal) -> Outcome {
    let spec = model.spec();
    let name = |hook: HookId| &*spec.hook_info(hook).name;
    let all = transformer_lens::aliases(spec);
    let found: Vec<(&str, String)> =
        all.iter().filter(|(_, hook)| wanted.contains(hook)).map(|(theirs, hook)| (&**theirs, name(*hook).to_owned())).collect();
    let without = transformer_lens::without(spec);
    if args.json {
        let aliases: Vec<_> = found.iter().map(|(theirs, ours)| json!({ "transformer_lens": theirs, "name": ours })).collect();
        let without: Vec<_> =
            without.iter().map(|(theirs, why, near)| json!({ "transformer_lens": theirs, "why": why, "nearest": near })).collect();
        return terminal.print_json(&json!({ "ok": true, "model": model.name(), "aliases": aliases, "without": without }));
    }
    if all.is_empty() {
        let message = format!("TransformerLens has no names for models of the architecture `{}`", spec.architecture());
        return Err(Diagnostic::error(Code::E4004, message).into());
    }
    let mut rows: Vec<[String; 2]> = found.iter().map(|(theirs, ours)| [theirs.to_string(), ours.clone()]).collect();
    if !args.all && terminal.watched {
        rows = group_pairs(&found);
    }
    terminal.print(&columns(&rows))?;
    if args.pattern.is_none() {
        for (theirs, why, near) in without {
            let near = if near.is_empty() { String::new() } else { format!("; nearest: {}", near.join(", ")) };
            terminal.say(&format!("{theirs}: no hook, {why}{near}"));
        }
    }
    Ok(())
}

/// Pairs of names that differ in their first number only, which is the same in both, on one line.
fn group_pairs(pairs: &[(&str, String)]) -> Vec<[String; 2]> {
    let shape = |ours: &str| match split_number(ours) {
        (before, Some(_), after) => format!("{before}#{after}"),
        (all, None, _) => all.to_owned(),
    };
    let shaped: Vec<(&str, String)> = pairs.iter().map(|(theirs, ours)| (*theirs, shape(ours))).collect();
    let line = |group: Group<'_>| [group.name(), group.ty.replace('#', &ranges(&group.numbers))];
    groups(&shaped).into_iter().map(line).collect()
}

/// Names that differ in their first number only, and have one type.
struct Group<'a> {
    before: &'a str,
    numbers: Vec<u64>,
    after: &'a str,
    ty: &'a str,
}

impl Group<'_> {
    /// All of them in one name: `layers.{0..29}.output`.
    fn name(&self) -> String {
        format!("{}{}{}", self.before, ranges(&self.numbers), self.after)
    }
}

fn groups<'a>(hooks: &'a [(&'a str, String)]) -> Vec<Group<'a>> {
    let mut order: Vec<Group<'_>> = vec![];
    let mut places: HashMap<(&str, &str, &str), usize> = HashMap::new();
    for (name, ty) in hooks {
        let (before, number, after) = split_number(name);
        let place = *places.entry((before, after, ty)).or_insert_with(|| {
            order.push(Group { before, numbers: vec![], after, ty });
            order.len() - 1
        });
        order[place].numbers.extend(number);
    }
    order
}

/// Each group on one line, with its type.
fn group(hooks: &[(&str, String)]) -> Vec<(String, String)> {
    groups(hooks).into_iter().map(|group| (group.name(), group.ty.to_owned())).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::pattern::Pattern;

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
        let pattern = Pattern::new(&lines[1]).unwrap();
        let again: Vec<&str> = names.into_iter().filter(|name| pattern.matches(name, &|_| 0)).collect();
        assert_eq!(again, ["model.layers.0.input", "model.layers.1.input", "model.layers.3.input"]);
    }

    #[test]
    fn other_names_share_lines_too() {
        let pair = |layer: usize| (format!("blocks.{layer}.attn.hook_z"), format!("model.layers.{layer}.self_attn.z"));
        let pairs = [pair(0), pair(1), ("hook_embed".to_owned(), "model.embed_tokens.output".to_owned())];
        let pairs: Vec<(&str, String)> = pairs.iter().map(|(theirs, ours)| (&**theirs, ours.clone())).collect();
        let lines = [["blocks.{0..1}.attn.hook_z", "model.layers.{0..1}.self_attn.z"], ["hook_embed", "model.embed_tokens.output"]];
        assert_eq!(group_pairs(&pairs), lines);
    }
}
