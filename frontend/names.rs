//! How people name hooks and modules: what they write, and the canonical name that it means.
//!
//! A program holds canonical names only: the paths of Hugging Face's modules with `.output`, `.input` or a leaf,
//! `model.layers.5.mlp.output`. Whatever else a person writes becomes one of them before the program is verified, by
//! [`hook()`] and [`module`]:
//!
//! | written | means |
//! |---|---|
//! | `model.layers[5].mlp.output` | `model.layers.5.mlp.output` |
//! | `model.layers.-1.output`, `model.layers[-1].output` | `model.layers.29.output`: from the end, as in Python |
//! | `model.layers.5.output[0]`, `model.layers.5.output.0` | `model.layers.5.output`: the module returns a tuple, see [`profile`] |
//! | `model.layers.5.self_attn.inputs[1]["hidden_states"]` | `model.layers.5.self_attn.input` |
//! | `output.logits` | `lm_head.output`: what the whole model returns |
//! | `blocks.5.hook_resid_post` | `model.layers.5.output`: TransformerLens' name, see [`transformer_lens`] |
//!
//! [`hooks`] takes a pattern, such as `model.layers.*.mlp.output`, and gives all hooks that are named so; see [`pattern`].
//!
//! ```
//! use irc::{models::Model, names};
//! let model = Model::open("induction")?;
//! let spec = model.spec();
//! let name = |text| names::hook(spec, text).map(|hook| spec.hook_info(hook).name.to_string());
//! assert_eq!(name("model.layers[-1].output[0]")?, "model.layers.3.output");
//! assert_eq!(name("blocks.0.attn.hook_pattern")?, "model.layers.0.self_attn.pattern");
//! assert_eq!(names::hooks(spec, "model.layers.{0..2}.output")?.len(), 3);
//! # Ok::<(), irc::ir::diagnostic::Diagnostic>(())
//! ```

use irc_ir::{
    code::Code,
    diagnostic::Diagnostic,
    model::{HookId, ModelSpec},
    types::Name,
};

mod bind;
pub mod path;
pub mod pattern;
pub mod profile;
pub mod transformer_lens;

pub use bind::bind;
use path::Access;
use pattern::Pattern;

/// Architectures whose modules have the same names and structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Family {
    Llama,
    Gpt2,
    Neox,
}

impl Family {
    /// The family of an architecture, by its `model_type`.
    fn of(architecture: &str) -> Option<Family> {
        match architecture {
            // The built-in toy has the names of a Llama.
            "llama" | "mistral" | "qwen2" | "qwen3" | "induction" => Some(Family::Llama),
            "gpt2" => Some(Family::Gpt2),
            "gpt_neox" => Some(Family::Neox),
            _ => None,
        }
    }
}

/// The hook that a person's text means.
///
/// # Errors
/// E2001 if there is none, with what may have been meant.
pub fn hook(spec: &ModelSpec, text: &str) -> Result<HookId, Diagnostic> {
    if let Some(hook) = spec.find_hook(text) {
        return Ok(hook);
    }
    if pattern::is_pattern(text) {
        let error = Diagnostic::error(Code::E2001, format!("`{text}` is a pattern, but one hook is named here"));
        return Err(error.help(format!("`trace.hooks(\"{text}\")` gives all hooks that match, `irc model hooks NAME PATTERN` lists them")));
    }
    let accesses = path::parse(text)?;
    if let Some(found) = transformer_lens::hook(spec, &accesses) {
        return found;
    }
    let place = profile::locate(spec, &accesses)?;
    if place.rest.is_empty() { Ok(place.hook) } else { Err(not_a_name(spec, text, &place)) }
}

/// The path of the module that a person's text means, whether or not it can be applied to values.
///
/// # Errors
/// E2005 if there is none, with what may have been meant.
pub fn module(spec: &ModelSpec, text: &str) -> Result<Name, Diagnostic> {
    if let Some(module) = spec.find_module(text) {
        return Ok(module.path.clone());
    }
    let accesses = path::parse(text).map_err(|error| Diagnostic { code: Code::E2005, ..error })?;
    if let Some(path) = transformer_lens::module(spec, &accesses) {
        return Ok(path);
    }
    let written = indexed(spec, &accesses).map_err(|error| Diagnostic { code: Code::E2005, ..error })?;
    spec.module(&written).map(|module| module.path.clone())
}

/// The hooks that a pattern means, in the order of the model; a name that is no pattern means one.
///
/// # Errors
/// E2001 if there are none, with what may have been meant.
pub fn hooks(spec: &ModelSpec, text: &str) -> Result<Vec<HookId>, Diagnostic> {
    if !pattern::is_pattern(text) {
        return Ok(vec![hook(spec, text)?]);
    }
    let pattern = Pattern::new(text)?;
    let count = |parent: &str| children(spec, parent);
    let named = |hook: HookId| &*spec.hook_info(hook).name;
    let found: Vec<HookId> = spec
        .hook_ids()
        .map(|(hook, _)| hook)
        .filter(|hook| {
            let name = named(*hook);
            pattern.matches(name, &count) || profile::element(spec, name).is_some_and(|spelled| pattern.matches(&spelled, &count))
        })
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let layers = transformer_lens::layers(spec);
    let count = |parent: &str| if parent == "blocks" { layers } else { 0 };
    let aliases = transformer_lens::aliases(spec).into_iter();
    let mut found: Vec<HookId> = aliases.filter(|(theirs, _)| pattern.matches(theirs, &count)).map(|(_, hook)| hook).collect();
    found.sort_unstable();
    found.dedup();
    if found.is_empty() { Err(no_match(spec, text)) } else { Ok(found) }
}

/// That no hook matches a pattern or holds a text, and what a misspelt part of it may have meant.
pub fn no_match(spec: &ModelSpec, text: &str) -> Diagnostic {
    // The parts of names that have as many words.
    let words = text.split('.').count();
    let names = spec.hooks().iter().map(|hook| hook.name.split('.').collect::<Vec<_>>());
    let mut parts: Vec<String> = names.flat_map(|name| name.windows(words).map(|part| part.join(".")).collect::<Vec<_>>()).collect();
    parts.sort_unstable();
    parts.dedup();
    let error = Diagnostic::error(Code::E2001, format!("no hook of the model matches `{text}`"));
    error.suggest(text, parts.iter().map(String::as_str))
}

/// A path with its indices as components, negative ones counted from the end: `model.layers.29`.
fn indexed(spec: &ModelSpec, accesses: &[Access]) -> Result<String, Diagnostic> {
    let mut written = String::new();
    for access in accesses {
        push(spec, &mut written, access)?;
    }
    Ok(written)
}

/// Appends a component to the path of a module or hook.
fn push(spec: &ModelSpec, path: &mut String, access: &Access) -> Result<(), Diagnostic> {
    let component = match access {
        Access::Name(name) | Access::Key(name) => name.clone(),
        Access::Index(index) => index_in(children(spec, path), path, *index)?,
    };
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(&component);
    Ok(())
}

/// An index of a list of modules, counted from the front. Where there is no list, the name as a whole is wrong, and
/// whoever looks it up says so.
fn index_in(count: u64, list: &str, index: i64) -> Result<String, Diagnostic> {
    let at = if index < 0 { count.checked_sub(index.unsigned_abs()) } else { Some(index.unsigned_abs()) };
    match at {
        _ if count == 0 => Ok(index.to_string()),
        Some(at) if at < count => Ok(at.to_string()),
        _ => {
            let error = Diagnostic::error(Code::E2001, format!("`{list}` has {count} entries, so there is no `{list}[{index}]`"));
            Err(error.help(format!("they are 0 to {}, or -{count} to -1 from the end", count - 1)))
        }
    }
}

/// How many numbered modules a path has: 30 for `model.layers`.
fn children(spec: &ModelSpec, path: &str) -> u64 {
    let number = |name: &str| name.strip_prefix(path)?.strip_prefix('.')?.split('.').next()?.parse::<u64>().ok();
    spec.hooks().iter().filter_map(|hook| number(&hook.name)).max().map_or(0, |last| last.saturating_add(1))
}

/// A name that goes on after a tensor.
fn not_a_name(spec: &ModelSpec, text: &str, place: &profile::Place<'_>) -> Diagnostic {
    let name = &spec.hook_info(place.hook).name;
    let rest = path::show(place.rest);
    let error = Diagnostic::error(Code::E2001, format!("`{text}` goes on after the hook `{name}`, which is a tensor, not a tuple"));
    let error = match spec.find_module(name.strip_suffix(".output").unwrap_or_default()) {
        Some(module) if profile::known(spec) && place.tuple => {
            error.note(format!("`{}` returns a tuple, and `{rest}` comes after its element", module.path))
        }
        Some(module) if profile::known(spec) => error.note(format!("`{}` returns a tensor ({})", module.path, profile::NAME)),
        Some(_) => {
            let message =
                format!("what modules of the architecture `{}` return is not known to the profile {}", spec.architecture(), profile::NAME);
            error.note(message)
        }
        None => error,
    };
    let error = error.help(format!("name the hook, `{name}`"));
    match place.rest {
        [Access::Index(index)] => error.help(format!(
            "a part of it is taken afterwards: `trace.hook(\"{name}\").at({index})`, or `index(%h) {{dim: 0, index: {index}}}` in a program"
        )),
        _ => error,
    }
}

#[cfg(test)]
mod tests;
