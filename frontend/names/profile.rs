//! The structure profile `hf-4.51`: what modules of Hugging Face transformers 4.51.3 take and return in a plain forward pass
//! with `sdpa` attention, which is the default.
//!
//! A hook is a tensor, never a tuple. Where a module returns a tuple or an object, one element of it is what its `.output`
//! holds here: `model.layers.5.output[0]` in Python is the hook `model.layers.5.output`, and so is the module's output
//! named as a whole. The other elements are no hooks (keys and values of the past; attention weights, which are `None`
//! under `sdpa`), and to ask for them is an error that names the hook which holds the same. Where a module returns a tensor,
//! `.output[0]` is not its output but the first row of a batch, which is no name of a hook.
//!
//! The profile is data: a row for each module that takes or returns something else than one tensor. Front ends of
//! Python programs look names up by [`locate`], accesses in Python's own order, and go on with what is left of them.

use irc_ir::{
    code::Code,
    diagnostic::Diagnostic,
    model::{HookId, ModelSpec},
};

use super::{
    Family, children, indexed,
    path::{Access, show},
    push,
};

/// The name of the profile.
pub const NAME: &str = "hf-4.51";

/// What a module returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Returns {
    /// One tensor, which its `.output` holds.
    Tensor,
    /// A tuple of these.
    Tuple(&'static [Part]),
    /// An object with these fields, which can be had by their names and by their places.
    Object(&'static [(&'static str, Part)]),
}

/// An element of what a module returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// What the module's `.output` holds.
    Output,
    /// Keys and values of this and earlier tokens, which are no hook.
    Cache,
    /// Attention weights: `None` under `sdpa`.
    Weights,
    /// Cosines and sines of rotary angles, which are no hook.
    Angles,
}

/// Where among a module's arguments that stands which its `.input` holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Takes {
    /// The first positional argument.
    First,
    /// A keyword.
    Keyword(&'static str),
}

/// A module that takes or returns something else than one tensor. `#` in its path is a number; empty is the whole model.
struct Row {
    module: &'static str,
    takes: Takes,
    returns: Returns,
}

/// The structure of the models of a family.
struct Structure {
    /// The module that takes the model's token ids, and the one whose output are its logits.
    ends: [&'static str; 2],
    /// Whether `generate` has the logits of the last position alone computed (`logits_to_keep`).
    last_logits: bool,
    rows: &'static [Row],
}

const LOGITS: Returns = Returns::Object(&[("logits", Part::Output), ("past_key_values", Part::Cache)]);
const HIDDEN: Returns = Returns::Object(&[("last_hidden_state", Part::Output), ("past_key_values", Part::Cache)]);
const ALONE: Returns = Returns::Tuple(&[Part::Output]);
const WITH_WEIGHTS: Returns = Returns::Tuple(&[Part::Output, Part::Weights]);
const WITH_CACHE: Returns = Returns::Tuple(&[Part::Output, Part::Cache]);
const ANGLES: Returns = Returns::Tuple(&[Part::Angles, Part::Angles]);

const IDS: Takes = Takes::Keyword("input_ids");
const HIDDEN_STATES: Takes = Takes::Keyword("hidden_states");

const fn row(module: &'static str, takes: Takes, returns: Returns) -> Row {
    Row { module, takes, returns }
}

const LLAMA: Structure = Structure {
    ends: ["model.embed_tokens", "lm_head"],
    last_logits: true,
    rows: &[
        row("", IDS, LOGITS),
        row("model", IDS, HIDDEN),
        row("model.rotary_emb", Takes::First, ANGLES),
        row("model.layers.#", Takes::First, ALONE),
        row("model.layers.#.self_attn", HIDDEN_STATES, WITH_WEIGHTS),
    ],
};

const GPT2: Structure = Structure {
    ends: ["transformer.wte", "lm_head"],
    last_logits: false,
    rows: &[
        row("", IDS, LOGITS),
        row("transformer", Takes::First, HIDDEN),
        row("transformer.h.#", Takes::First, WITH_CACHE),
        row("transformer.h.#.attn", Takes::First, WITH_CACHE),
    ],
};

const NEOX: Structure = Structure {
    ends: ["gpt_neox.embed_in", "embed_out"],
    last_logits: true,
    rows: &[
        row("", IDS, LOGITS),
        row("gpt_neox", Takes::First, HIDDEN),
        row("gpt_neox.rotary_emb", Takes::First, ANGLES),
        row("gpt_neox.layers.#", Takes::First, ALONE),
        row("gpt_neox.layers.#.attention", Takes::First, WITH_WEIGHTS),
    ],
};

fn structure(architecture: &str) -> Option<&'static Structure> {
    Some(match Family::of(architecture)? {
        Family::Llama => &LLAMA,
        Family::Gpt2 => &GPT2,
        Family::Neox => &NEOX,
    })
}

fn find_row(architecture: &str, module: &str) -> Option<&'static Row> {
    let numeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let is = |row: &&Row| {
        row.module.split('.').count() == module.split('.').count()
            && row.module.split('.').zip(module.split('.')).all(|(theirs, part)| theirs == part || theirs == "#" && numeric(part))
    };
    structure(architecture)?.rows.iter().find(is)
}

/// Whether the profile knows the architecture of a model. Of others, modules count as returning tensors.
pub fn known(spec: &ModelSpec) -> bool {
    structure(spec.architecture()).is_some()
}

/// Whether the head of a model gets the last position alone where `generate` reads a prompt, as it does in most classes: in GPT-2
/// it gets all.
pub fn last_logits(spec: &ModelSpec) -> bool {
    structure(spec.architecture()).is_none_or(|structure| structure.last_logits)
}

/// What a module of an architecture returns, by its path; the whole model has the empty one.
pub fn returns(architecture: &str, module: &str) -> Returns {
    find_row(architecture, module).map_or(Returns::Tensor, |row| row.returns)
}

/// Where the input of a module of an architecture stands among its arguments.
pub fn takes(architecture: &str, module: &str) -> Takes {
    find_row(architecture, module).map_or(Takes::First, |row| row.takes)
}

/// A hook as it is called where it is an element of a tuple: `model.layers.5.output.0`.
pub(super) fn element(spec: &ModelSpec, hook: &str) -> Option<String> {
    let Returns::Tuple(parts) = returns(spec.architecture(), hook.strip_suffix(".output")?) else { return None };
    parts.iter().position(|part| *part == Part::Output).map(|at| format!("{hook}.{at}"))
}

/// What a chain of accesses comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place<'a> {
    /// The hook that holds it.
    pub hook: HookId,
    /// What follows after it: accesses of the tensor.
    pub rest: &'a [Access],
    /// Whether the module returns a tuple or an object.
    pub tuple: bool,
    /// Whether that tuple or object is named as a whole, so that the hook is one element of what is meant.
    pub whole: bool,
}

/// The hook that a chain of accesses leads to, through tuples, objects and arguments.
///
/// # Errors
/// E2001 if it leads to something that is no hook, with the hook that holds the same, where there is one.
pub fn locate<'a>(spec: &ModelSpec, accesses: &'a [Access]) -> Result<Place<'a>, Diagnostic> {
    let architecture = spec.architecture();
    let ends = structure(architecture).map(|structure| structure.ends);
    let mut path = String::new();
    for (at, access) in accesses.iter().enumerate() {
        let rest = &accesses[at + 1..];
        let name = if let Access::Name(name) = access { name.as_str() } else { "" };
        match (name, ends) {
            // The whole model.
            ("output", Some([_, head])) if at == 0 => return output(spec, "", spec.hook(&format!("{head}.output"))?, rest),
            ("input", Some([embedding, _])) if at == 0 => return tensor(spec.hook(&format!("{embedding}.input"))?, rest),
            ("inputs", Some([embedding, _])) if at == 0 => return inputs(spec, "", spec.hook(&format!("{embedding}.input"))?, rest),
            ("inputs", _) if at > 0 => return inputs(spec, &path, spec.hook(&format!("{path}.input"))?, rest),
            _ => {}
        }
        let module = path.clone();
        push(spec, &mut path, access)?;
        if let Some(hook) = spec.find_hook(&path) {
            return if name == "output" { output(spec, &module, hook, rest) } else { tensor(hook, rest) };
        }
    }
    // There is no such hook; the error of the whole name says what is near.
    let error = match spec.hook(&path) {
        Ok(hook) => return tensor(hook, &[]),
        Err(error) => error,
    };
    Err(missing_list(spec, accesses).unwrap_or(error))
}

/// That a name ends at a list of modules, which holds nothing itself.
fn missing_list(spec: &ModelSpec, accesses: &[Access]) -> Option<Diagnostic> {
    let (Access::Name(leaf), list) = accesses.split_last()? else { return None };
    let list = indexed(spec, list).ok()?;
    let count = children(spec, &list);
    (count > 0 && (leaf == "output" || leaf == "input")).then(|| {
        let error = Diagnostic::error(Code::E2001, format!("`{list}` is a list of {count} modules, which has no `{leaf}` of its own"));
        error.help(format!("name one of them: `{list}[-1].{leaf}`"))
    })
}

fn tensor(hook: HookId, rest: &[Access]) -> Result<Place<'_>, Diagnostic> {
    Ok(Place { hook, rest, tuple: false, whole: false })
}

/// What is named of a module's output.
fn output<'a>(spec: &ModelSpec, module: &str, hook: HookId, rest: &'a [Access]) -> Result<Place<'a>, Diagnostic> {
    let returns = returns(spec.architecture(), module);
    let parts: Vec<(&str, Part)> = match returns {
        Returns::Tensor => return tensor(hook, rest),
        Returns::Tuple(parts) => parts.iter().map(|part| ("", *part)).collect(),
        Returns::Object(fields) => fields.to_vec(),
    };
    let Some(first) = rest.first() else { return Ok(Place { hook, rest, tuple: true, whole: true }) };
    let part = match first {
        Access::Index(index) => {
            let at = if *index < 0 { index.checked_add_unsigned(parts.len() as u64) } else { Some(*index) };
            at.and_then(|at| parts.get(usize::try_from(at).ok()?))
        }
        Access::Name(name) | Access::Key(name) => parts.iter().find(|(field, _)| !field.is_empty() && field == name),
    };
    let whose = if module.is_empty() { "the model".to_owned() } else { format!("`{module}`") };
    let written = format!("{module}{}output{}", if module.is_empty() { "" } else { "." }, show(&rest[..1]));
    let refuse = |what: &str| {
        let error = Diagnostic::error(Code::E2001, format!("`{written}` {what}"));
        error.note(format!("{whose} returns {} ({NAME})", describe(&parts)))
    };
    let name = &spec.hook_info(hook).name;
    let inside = |error: Diagnostic, leaves: &[&str]| {
        let attention = [module.to_owned(), format!("{module}.self_attn"), format!("{module}.attn"), format!("{module}.attention")];
        let found = attention.iter().find(|module| leaves.iter().all(|leaf| spec.find_hook(&format!("{module}.{leaf}")).is_some()));
        match found {
            Some(module) => {
                leaves.iter().fold(error, |error, leaf| error.help(format!("`{module}.{leaf}` is the hook that holds its {}", call(leaf))))
            }
            None => error,
        }
    };
    match part {
        Some((_, Part::Output)) => Ok(Place { hook, rest: &rest[1..], tuple: true, whole: false }),
        Some((_, Part::Cache)) => Err(inside(refuse("holds keys and values of the past, which is no hook"), &["k", "v"])),
        Some((_, Part::Weights)) => Err(inside(refuse("is `None`: with `sdpa` there are no attention weights to return"), &["pattern"])),
        Some((_, Part::Angles)) => Err(refuse("holds the angles of the rotary embedding, which are no hook")),
        None => Err(refuse("does not exist").help(format!("the hook is `{name}`"))),
    }
}

/// What the leaves of attention are called.
fn call(leaf: &str) -> &'static str {
    match leaf {
        "k" => "keys",
        "v" => "values",
        _ => "attention weights",
    }
}

/// What a module returns, in words: `(output, attention weights)`.
fn describe(parts: &[(&str, Part)]) -> String {
    let words = |part: &Part| match part {
        Part::Output => "output",
        Part::Cache => "keys and values",
        Part::Weights => "None",
        Part::Angles => "angles",
    };
    let parts =
        parts.iter().map(|(field, part)| if field.is_empty() { words(part).to_owned() } else { format!("{field}: {}", words(part)) });
    format!("({})", parts.collect::<Vec<_>>().join(", "))
}

/// What is named of a module's arguments, `(positional, keywords)`.
fn inputs<'a>(spec: &ModelSpec, module: &str, hook: HookId, rest: &'a [Access]) -> Result<Place<'a>, Diagnostic> {
    let takes = takes(spec.architecture(), module);
    let (place, dot) =
        (if module.is_empty() { "the model".to_owned() } else { format!("`{module}`") }, if module.is_empty() { "" } else { "." });
    let keyword = |keyword: &str| format!("{module}{dot}inputs[1][{keyword:?}]");
    let found = match (rest, takes) {
        ([Access::Index(0 | -2), Access::Index(0), after @ ..], Takes::First) => Some(after),
        ([Access::Index(1 | -1), Access::Key(key) | Access::Name(key), after @ ..], Takes::Keyword(name)) if key == name => Some(after),
        _ => None,
    };
    if let Some(after) = found {
        return tensor(hook, after);
    }
    let written = format!("{module}{dot}inputs{}", show(&rest[..rest.len().min(2)]));
    let error = Diagnostic::error(Code::E2001, format!("`{written}` is no hook"));
    let error = match takes {
        Takes::First => {
            error.note(format!("{place} gets its input as the first positional argument, `{module}{dot}inputs[0][0]` ({NAME})"))
        }
        Takes::Keyword(name) => error.note(format!("{place} gets its input as the keyword `{name}`, `{}` ({NAME})", keyword(name))),
    };
    Err(error.help(format!("the hook is `{}`", spec.hook_info(hook).name)))
}
