//! TransformerLens' names of hooks, as of its version 2.16: `blocks.5.hook_resid_post`.
//!
//! A name of theirs means a hook of ours where both hold the same tensor: the same numbers in the same shape, for a model
//! that was loaded by `HookedTransformer.from_pretrained_no_processing`. `irc model hooks NAME --transformer-lens` lists
//! the names of a model. What differs:
//!
//! | in TransformerLens | here |
//! |---|---|
//! | `from_pretrained` folds norms into the weights after them, and centres the weights that write to the residual stream and the unembedding: residuals, `ln*.hook_normalized`, logits differ from the model's own | weights are the model's own |
//! | a beginning-of-text token is put before each prompt (`default_prepend_bos`) | a prompt is what it says |
//! | prompts of a batch are padded | each has its own length, see [`crate::trace::Batch`] |
//! | `attn.hook_q`, `hook_k` are before the rotary embedding, `hook_rot_q`, `hook_rot_k` after it | `q` and `k` are after it; before it: `q_proj.output`, heads side by side (with norms of queries and keys, `q_norm.input`, as TransformerLens has it) |
//! | `attn.hook_attn_scores` has minus infinity where the mask forbids | `scores` are before the mask |
//! | `ln*.hook_normalized` of an RMS norm is before its weight | a norm's `.output` is after it (in a LayerNorm both are after) |
//! | `ln*.hook_scale` | is no hook; it can be computed from the norm's `.input` |
//! | `attn.hook_result`, off by default, is what each head adds to the residual stream | is no hook; `z` is per head before the output projection |
//! | `hook_attn_in`, `hook_q_input`, `hook_mlp_in` and their like, off by default, are copies to be changed apart | `self_attn.input`, `mlp.input` are after the norm |
//! | `hook_resid_mid` does not exist where MLP and attention work side by side | as there |
//!
//! Names are checked against TransformerLens itself: `tests/scripts/record_names.py` runs both on the same random models, and
//! the tests compare this table with what was found equal.

use irc_ir::{
    code::Code,
    diagnostic::Diagnostic,
    model::{HookId, ModelSpec},
    types::Name,
};

use super::{Family, children, index_in, path::Access};
use Ours::{Is, Not};

/// What a name means here. `#` is the layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ours {
    /// This hook.
    Is(&'static str),
    /// Nothing; why, and the hooks that come nearest.
    Not(&'static str, &'static [&'static str]),
}

/// One name, and what it means in each family.
struct Alias {
    theirs: &'static str,
    llama: Ours,
    gpt2: Ours,
    neox: Ours,
}

const fn alias(theirs: &'static str, llama: Ours, gpt2: Ours, neox: Ours) -> Alias {
    Alias { theirs, llama, gpt2, neox }
}

const SCALE: &str = "it is inside the norm, and follows from what goes into it";
const BEFORE_WEIGHT: &str = "it is inside the norm, before the weight";
const BEFORE_ROTARY: &str = "it is before the rotary embedding, one head beside the other here";
const FUSED: &str = "queries, keys and values are one tensor before the rotary embedding";
const MASKED: &str = "it has minus infinity where the mask forbids; ours is before the mask";
const RESULT: &str = "the output projection is not done head by head";
const NO_ROTARY: &str = "the model has no rotary embedding";
const NO_POSITIONS: &str = "the model has no embedding of positions";
const NO_GATE: &str = "the MLP has no gate";
const PARALLEL: &str = "MLP and attention work side by side, so there is no residual between them";

/// The names, in the order of the model.
const ALIASES: &[Alias] = &[
    alias("hook_tokens", Is("model.embed_tokens.input"), Is("transformer.wte.input"), Is("gpt_neox.embed_in.input")),
    alias("hook_embed", Is("model.embed_tokens.output"), Is("transformer.wte.output"), Is("gpt_neox.embed_in.output")),
    alias("hook_pos_embed", Not(NO_POSITIONS, &[]), Is("transformer.wpe.output"), Not(NO_POSITIONS, &[])),
    alias("blocks.#.hook_resid_pre", Is("model.layers.#.input"), Is("transformer.h.#.input"), Is("gpt_neox.layers.#.input")),
    alias(
        "blocks.#.ln1.hook_scale",
        Not(SCALE, &["model.layers.#.input_layernorm.input"]),
        Not(SCALE, &["transformer.h.#.ln_1.input"]),
        Not(SCALE, &["gpt_neox.layers.#.input_layernorm.input"]),
    ),
    alias(
        "blocks.#.ln1.hook_normalized",
        Not(BEFORE_WEIGHT, &["model.layers.#.input_layernorm.output"]),
        Is("transformer.h.#.ln_1.output"),
        Is("gpt_neox.layers.#.input_layernorm.output"),
    ),
    alias(
        "blocks.#.attn.hook_q",
        Not(BEFORE_ROTARY, &["model.layers.#.self_attn.q_proj.output", "model.layers.#.self_attn.q"]),
        Is("transformer.h.#.attn.q"),
        Not(FUSED, &["gpt_neox.layers.#.attention.query_key_value.output", "gpt_neox.layers.#.attention.q"]),
    ),
    alias(
        "blocks.#.attn.hook_k",
        Not(BEFORE_ROTARY, &["model.layers.#.self_attn.k_proj.output", "model.layers.#.self_attn.k"]),
        Is("transformer.h.#.attn.k"),
        Not(FUSED, &["gpt_neox.layers.#.attention.query_key_value.output", "gpt_neox.layers.#.attention.k"]),
    ),
    alias("blocks.#.attn.hook_v", Is("model.layers.#.self_attn.v"), Is("transformer.h.#.attn.v"), Is("gpt_neox.layers.#.attention.v")),
    alias(
        "blocks.#.attn.hook_rot_q",
        Is("model.layers.#.self_attn.q"),
        Not(NO_ROTARY, &["transformer.h.#.attn.q"]),
        Is("gpt_neox.layers.#.attention.q"),
    ),
    alias(
        "blocks.#.attn.hook_rot_k",
        Is("model.layers.#.self_attn.k"),
        Not(NO_ROTARY, &["transformer.h.#.attn.k"]),
        Is("gpt_neox.layers.#.attention.k"),
    ),
    alias(
        "blocks.#.attn.hook_attn_scores",
        Not(MASKED, &["model.layers.#.self_attn.scores"]),
        Not(MASKED, &["transformer.h.#.attn.scores"]),
        Not(MASKED, &["gpt_neox.layers.#.attention.scores"]),
    ),
    alias(
        "blocks.#.attn.hook_pattern",
        Is("model.layers.#.self_attn.pattern"),
        Is("transformer.h.#.attn.pattern"),
        Is("gpt_neox.layers.#.attention.pattern"),
    ),
    alias("blocks.#.attn.hook_z", Is("model.layers.#.self_attn.z"), Is("transformer.h.#.attn.z"), Is("gpt_neox.layers.#.attention.z")),
    alias(
        "blocks.#.attn.hook_result",
        Not(RESULT, &["model.layers.#.self_attn.z", "model.layers.#.self_attn.o_proj.output"]),
        Not(RESULT, &["transformer.h.#.attn.z", "transformer.h.#.attn.c_proj.output"]),
        Not(RESULT, &["gpt_neox.layers.#.attention.z", "gpt_neox.layers.#.attention.dense.output"]),
    ),
    alias(
        "blocks.#.hook_attn_out",
        Is("model.layers.#.self_attn.output"),
        Is("transformer.h.#.attn.output"),
        Is("gpt_neox.layers.#.attention.output"),
    ),
    alias(
        "blocks.#.hook_resid_mid",
        Is("model.layers.#.post_attention_layernorm.input"),
        Is("transformer.h.#.ln_2.input"),
        Not(PARALLEL, &["gpt_neox.layers.#.attention.output"]),
    ),
    alias(
        "blocks.#.ln2.hook_scale",
        Not(SCALE, &["model.layers.#.post_attention_layernorm.input"]),
        Not(SCALE, &["transformer.h.#.ln_2.input"]),
        Not(SCALE, &["gpt_neox.layers.#.post_attention_layernorm.input"]),
    ),
    alias(
        "blocks.#.ln2.hook_normalized",
        Not(BEFORE_WEIGHT, &["model.layers.#.post_attention_layernorm.output"]),
        Is("transformer.h.#.ln_2.output"),
        Is("gpt_neox.layers.#.post_attention_layernorm.output"),
    ),
    alias(
        "blocks.#.mlp.hook_pre",
        Is("model.layers.#.mlp.gate_proj.output"),
        Is("transformer.h.#.mlp.c_fc.output"),
        Is("gpt_neox.layers.#.mlp.dense_h_to_4h.output"),
    ),
    alias("blocks.#.mlp.hook_pre_linear", Is("model.layers.#.mlp.up_proj.output"), Not(NO_GATE, &[]), Not(NO_GATE, &[])),
    alias(
        "blocks.#.mlp.hook_post",
        Is("model.layers.#.mlp.down_proj.input"),
        Is("transformer.h.#.mlp.c_proj.input"),
        Is("gpt_neox.layers.#.mlp.dense_4h_to_h.input"),
    ),
    alias("blocks.#.hook_mlp_out", Is("model.layers.#.mlp.output"), Is("transformer.h.#.mlp.output"), Is("gpt_neox.layers.#.mlp.output")),
    alias("blocks.#.hook_resid_post", Is("model.layers.#.output"), Is("transformer.h.#.output"), Is("gpt_neox.layers.#.output")),
    alias(
        "ln_final.hook_scale",
        Not(SCALE, &["model.norm.input"]),
        Not(SCALE, &["transformer.ln_f.input"]),
        Not(SCALE, &["gpt_neox.final_layer_norm.input"]),
    ),
    alias(
        "ln_final.hook_normalized",
        Not(BEFORE_WEIGHT, &["model.norm.output"]),
        Is("transformer.ln_f.output"),
        Is("gpt_neox.final_layer_norm.output"),
    ),
];

/// What is otherwise with norms of queries and keys, which stand between the projections and the rotary embedding.
const QWEN3: &[(&str, Ours)] = &[
    ("blocks.#.attn.hook_q", Is("model.layers.#.self_attn.q_norm.input")),
    ("blocks.#.attn.hook_k", Is("model.layers.#.self_attn.k_norm.input")),
    ("blocks.#.attn.q_norm.hook_scale", Not(SCALE, &["model.layers.#.self_attn.q_norm.input"])),
    ("blocks.#.attn.q_norm.hook_normalized", Not(BEFORE_WEIGHT, &["model.layers.#.self_attn.q_norm.output"])),
    ("blocks.#.attn.k_norm.hook_scale", Not(SCALE, &["model.layers.#.self_attn.k_norm.input"])),
    ("blocks.#.attn.k_norm.hook_normalized", Not(BEFORE_WEIGHT, &["model.layers.#.self_attn.k_norm.output"])),
];

/// Modules, for `apply`: theirs, and ours in each family.
const MODULES: &[(&str, [&str; 3])] = &[
    ("embed", ["model.embed_tokens", "transformer.wte", "gpt_neox.embed_in"]),
    ("blocks.#", ["model.layers.#", "transformer.h.#", "gpt_neox.layers.#"]),
    ("blocks.#.ln1", ["model.layers.#.input_layernorm", "transformer.h.#.ln_1", "gpt_neox.layers.#.input_layernorm"]),
    ("blocks.#.attn", ["model.layers.#.self_attn", "transformer.h.#.attn", "gpt_neox.layers.#.attention"]),
    ("blocks.#.ln2", ["model.layers.#.post_attention_layernorm", "transformer.h.#.ln_2", "gpt_neox.layers.#.post_attention_layernorm"]),
    ("blocks.#.mlp", ["model.layers.#.mlp", "transformer.h.#.mlp", "gpt_neox.layers.#.mlp"]),
    ("ln_final", ["model.norm", "transformer.ln_f", "gpt_neox.final_layer_norm"]),
    ("unembed", ["lm_head", "lm_head", "embed_out"]),
];

impl Family {
    fn layers(self) -> &'static str {
        match self {
            Family::Llama => "model.layers",
            Family::Gpt2 => "transformer.h",
            Family::Neox => "gpt_neox.layers",
        }
    }

    fn column(self, alias: &Alias) -> Ours {
        match self {
            Family::Llama => alias.llama,
            Family::Gpt2 => alias.gpt2,
            Family::Neox => alias.neox,
        }
    }
}

/// The table of one architecture.
fn table(architecture: &str) -> Vec<(&'static str, Ours)> {
    let Some(family) = Family::of(architecture) else { return vec![] };
    let others: &[(&str, Ours)] = if architecture == "qwen3" { QWEN3 } else { &[] };
    let own = |theirs: &str| others.iter().find(|(other, _)| *other == theirs).map(|(_, ours)| *ours);
    let mut table: Vec<(&'static str, Ours)> =
        ALIASES.iter().map(|alias| (alias.theirs, own(alias.theirs).unwrap_or(family.column(alias)))).collect();
    table.extend(others.iter().filter(|(theirs, _)| ALIASES.iter().all(|alias| alias.theirs != *theirs)));
    table
}

/// How many layers a model has, as TransformerLens counts them.
pub(super) fn layers(spec: &ModelSpec) -> u64 {
    Family::of(spec.architecture()).map_or(0, |family| children(spec, family.layers()))
}

/// The names that mean hooks of a model, in the order of the hooks: each with its hook.
pub fn aliases(spec: &ModelSpec) -> Vec<(String, HookId)> {
    let mut found = vec![];
    for (theirs, ours) in table(spec.architecture()) {
        let Is(ours) = ours else { continue };
        for layer in 0..if theirs.contains('#') { layers(spec) } else { 1 } {
            if let Some(hook) = spec.find_hook(&at(ours, layer)) {
                found.push((at(theirs, layer), hook));
            }
        }
    }
    found.sort_by_key(|(_, hook)| *hook);
    found
}

/// The names that mean no hook of a model: each with the reason and the nearest hooks, `#` for the layer.
pub fn without(spec: &ModelSpec) -> Vec<(&'static str, &'static str, Vec<&'static str>)> {
    let one = |(theirs, ours): (&'static str, Ours)| match ours {
        Is(ours) => spec.find_hook(&at(ours, 0)).is_none().then_some((theirs, MISSING, vec![])),
        Not(why, near) => Some((theirs, why, near.iter().copied().filter(|near| spec.find_hook(&at(near, 0)).is_some()).collect())),
    };
    table(spec.architecture()).into_iter().filter_map(one).collect()
}

const MISSING: &str = "the model has no such part";

fn at(name: &str, layer: u64) -> String {
    name.replace('#', &layer.to_string())
}

/// The hook that a name of TransformerLens means; none if it is not one.
///
/// # Errors
/// E2001 if it means no hook of ours, or a layer that does not exist.
pub(super) fn hook(spec: &ModelSpec, accesses: &[Access]) -> Option<Result<HookId, Diagnostic>> {
    if !matches!(accesses.last(), Some(Access::Name(name)) if name.starts_with("hook_")) {
        return None;
    }
    let table = table(spec.architecture());
    if table.is_empty() {
        let message = format!("names of TransformerLens have no meaning for models of the architecture `{}`", spec.architecture());
        return Some(Err(Diagnostic::error(Code::E2001, message).help("`irc model hooks NAME` lists the hooks of a model")));
    }
    let (shape, layer) = match split(spec, accesses) {
        Ok(split) => split,
        Err(error) => return Some(Err(error)),
    };
    let written = at(&shape, layer);
    let Some((_, ours)) = table.iter().find(|(theirs, _)| *theirs == shape) else {
        let error = Diagnostic::error(Code::E2001, format!("`{written}` is no name that is known of TransformerLens"));
        let names: Vec<String> = table.iter().map(|(theirs, _)| at(theirs, layer)).collect();
        return Some(Err(error.suggest(&written, names.iter().map(String::as_str))));
    };
    let refuse = |why: &str| Diagnostic::error(Code::E2001, format!("`{written}` of TransformerLens is no hook here: {why}"));
    Some(match ours {
        Is(ours) => spec.find_hook(&at(ours, layer)).ok_or_else(|| refuse(MISSING)),
        Not(why, near) => {
            let near: Vec<String> = near.iter().map(|near| at(near, layer)).filter(|near| spec.find_hook(near).is_some()).collect();
            let list = near.iter().map(|near| format!("`{near}`")).collect::<Vec<_>>().join(", ");
            let error = refuse(why);
            Err(if list.is_empty() { error } else { error.help(format!("nearest: {list}")) })
        }
    })
}

/// The module that a name of TransformerLens means.
pub(super) fn module(spec: &ModelSpec, accesses: &[Access]) -> Option<Name> {
    let family = Family::of(spec.architecture())?;
    let (shape, layer) = split(spec, accesses).ok()?;
    let (_, ours) = MODULES.iter().find(|(theirs, _)| *theirs == shape)?;
    spec.find_module(&at(ours[family as usize], layer)).map(|module| module.path.clone())
}

/// A name with `#` for the layer, and the layer.
fn split(spec: &ModelSpec, accesses: &[Access]) -> Result<(String, u64), Diagnostic> {
    let (mut shape, mut layer) = (vec![], 0);
    for access in accesses {
        match access {
            Access::Name(name) | Access::Key(name) => shape.push(name.as_str()),
            Access::Index(index) => {
                layer = index_in(layers(spec), "blocks", *index)?.parse().unwrap_or(0);
                shape.push("#");
            }
        }
    }
    Ok((shape.join("."), layer))
}
