//! Names against what transformers and TransformerLens do themselves, recorded by `tests/scripts/record_names.py`.

use std::collections::{BTreeMap, BTreeSet};

use irc_ir::{model::ModelBuilder, types::DType};
use serde_json::Value as Json;

use super::{
    profile::{Part, Returns, Takes, returns, takes},
    *,
};
use crate::models::induction;

fn recorded() -> BTreeMap<String, Json> {
    serde_json::from_str(include_str!("../../tests/data/names.json")).unwrap()
}

/// A model of an architecture that has the modules and leaves which the record names: values are passed through.
fn model(architecture: &str, record: &Json) -> ModelSpec {
    let mut hooks: BTreeSet<String> = BTreeSet::new();
    for (path, _) in record["modules"].as_object().unwrap() {
        for layer in 0..3 {
            let path = path.replace('#', &layer.to_string());
            hooks.extend(["input", "output"].map(|leaf| format!("{path}.{leaf}")));
        }
    }
    hooks.retain(|name| !name.starts_with('.') && !name.contains("rotary_emb"));
    let equal = record["hooks"].as_object().unwrap().values().flat_map(|entry| entry["same"].as_array().unwrap());
    let equal: BTreeSet<String> = equal.map(|name| name.as_str().unwrap().to_owned()).collect();
    hooks.extend(equal.into_iter().filter(|name| !name.ends_with("put")));
    let mut m = ModelBuilder::new(architecture, DType::F32, 8, 8);
    let mut x = m.tokens();
    for hook in hooks {
        x = match hook.strip_suffix(".output") {
            Some(module) => m.module(module, x, |_, x| x),
            None if hook.ends_with(".input") => continue,
            None => m.hook(&hook, x),
        };
    }
    m.finish(x).unwrap()
}

fn named(spec: &ModelSpec, text: &str) -> Result<String, String> {
    hook(spec, text).map(|hook| spec.hook_info(hook).name.to_string()).map_err(|error| error.to_string())
}

#[test]
fn the_profile_is_what_transformers_does() {
    for (architecture, record) in recorded() {
        for (path, seen) in record["modules"].as_object().unwrap() {
            let part = |part: &Part| match part {
                Part::Output | Part::Angles => Json::from("tensor"),
                Part::Cache => "cache".into(),
                Part::Weights => "none".into(),
            };
            let mut output = seen["output"].clone();
            if let Some(cache) = output.get_mut("past_key_values") {
                // A tuple of one cache a layer, or an object.
                *cache = "cache".into();
            }
            let ours: Json = match returns(&architecture, path) {
                Returns::Tensor => "tensor".into(),
                Returns::Tuple(parts) => parts.iter().map(part).collect::<Vec<_>>().into(),
                Returns::Object(fields) => {
                    fields.iter().map(|(name, of)| (name.to_string(), part(of))).collect::<serde_json::Map<_, _>>().into()
                }
            };
            assert_eq!(ours, output, "{architecture} {path}");
            let place: Json = match takes(&architecture, path) {
                Takes::First => 0.into(),
                Takes::Keyword(name) => name.into(),
            };
            assert_eq!(place, seen["input"], "{architecture} {path}");
        }
    }
}

#[test]
fn aliases_are_what_transformer_lens_does() {
    for (architecture, record) in recorded() {
        let spec = model(&architecture, &record);
        let mut means = 0;
        let seen = record["hooks"].as_object().unwrap();
        for (theirs, equal) in seen {
            let same: Vec<&str> = equal["same"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
            match named(&spec, &theirs.replace('#', "1")) {
                Ok(ours) => {
                    assert!(same.contains(&&*ours), "{architecture} {theirs}: {ours} is none of {same:?}");
                    means += 1;
                }
                // What has an equal may not be refused.
                Err(error) => {
                    assert!(same.is_empty() && error.contains("of TransformerLens is no hook here"), "{architecture} {theirs}: {error}")
                }
            }
        }
        assert!(means >= 13, "{architecture}: {means}");
        // Each name that is said to have an equal exists there.
        for (theirs, _) in transformer_lens::aliases(&spec) {
            let name = theirs.replace(".0.", ".#.").replace(".1.", ".#.").replace(".2.", ".#.");
            assert!(seen.contains_key(&name), "{architecture} {theirs}");
        }
    }
}

#[test]
fn names_become_canonical() {
    let spec = induction::spec().unwrap();
    for (text, name) in [
        ("model.layers.2.output", "model.layers.2.output"),
        ("model.layers[2].output", "model.layers.2.output"),
        ("model.layers.-1.self_attn.output", "model.layers.3.self_attn.output"),
        ("model.layers[-4].self_attn.q_proj.input", "model.layers.0.self_attn.q_proj.input"),
        ("model.layers[2].output[0]", "model.layers.2.output"),
        ("model.layers.2.output.0", "model.layers.2.output"),
        ("model.layers.2.output[-1]", "model.layers.2.output"),
        ("model.layers.2.self_attn.output[0]", "model.layers.2.self_attn.output"),
        ("model.layers.2.self_attn.output.-2", "model.layers.2.self_attn.output"),
        ("model.layers.2.inputs[0][0]", "model.layers.2.input"),
        ("model.layers.2.self_attn.inputs[1]['hidden_states']", "model.layers.2.self_attn.input"),
        ("model.layers.2.self_attn.inputs.1.hidden_states", "model.layers.2.self_attn.input"),
        ("model.output.last_hidden_state", "model.output"),
        ("model.output[0]", "model.output"),
        ("output.logits", "lm_head.output"),
        ("output[0]", "lm_head.output"),
        ("inputs[1]['input_ids']", "model.embed_tokens.input"),
        ("blocks.-1.hook_resid_post", "model.layers.3.output"),
        ("blocks[1].attn.hook_rot_q", "model.layers.1.self_attn.q"),
        ("hook_embed", "model.embed_tokens.output"),
    ] {
        assert_eq!(named(&spec, text).as_deref(), Ok(name), "{text}");
    }
    for (text, path) in [
        ("model.layers[-1].self_attn", "model.layers.3.self_attn"),
        ("blocks.1.attn", "model.layers.1.self_attn"),
        ("unembed", "lm_head"),
        ("lm_head", "lm_head"),
    ] {
        assert_eq!(module(&spec, text).as_deref(), Ok(path), "{text}");
    }
    assert!(module(&spec, "model.layers[9].self_attn").unwrap_err().message.contains("4 entries"));
    assert_eq!(module(&spec, "blocks.9.attn").unwrap_err().code, Code::E2005);
}

#[test]
fn what_is_no_hook_is_explained() {
    let spec = induction::spec().unwrap();
    for (text, says) in [
        ("model.layers.2.self_attn.o_proj.output[0]", "`model.layers.2.self_attn.o_proj.output`, which is a tensor, not a tuple"),
        ("model.layers.2.self_attn.o_proj.output[0]", "`trace.hook(\"model.layers.2.self_attn.o_proj.output\").at(0)`"),
        ("model.layers.2.output[0][0]", "goes on after the hook `model.layers.2.output`"),
        ("model.layers.2.output[1]", "`model.layers.2.output[1]` does not exist; the hook is `model.layers.2.output`"),
        ("model.layers.2.self_attn.output[1]", "`model.layers.2.self_attn.pattern` is the hook that holds its attention weights"),
        ("model.layers.2.self_attn.inputs[0][0]", "the hook is `model.layers.2.self_attn.input`"),
        ("model.layers.2.inputs[1]['attention_mask']", "is no hook"),
        ("output.past_key_values", "keys and values of the past"),
        ("model.layers[7].output", "`model.layers` has 4 entries"),
        ("model.layers.-5.output", "they are 0 to 3, or -4 to -1 from the end"),
        ("model.layers.output", "is a list of 4 modules"),
        ("model.layers[2", "a bracket is not closed"),
        ("model.layers[2]]", "a bracket too many"),
        ("model..layers", "a component is empty"),
        ("model.layers.2.output[:, -1]", "neither an index nor a key"),
        ("model.layers.*.output", "is a pattern"),
        (
            "blocks.1.attn.hook_q",
            "before the rotary embedding, one head beside the other here; nearest: `model.layers.1.self_attn.q_proj.output`",
        ),
        ("blocks.1.attn.hook_attn_scores", "nearest: `model.layers.1.self_attn.scores`"),
        ("blocks.1.mlp.hook_post", "the model has no such part"),
        ("blocks.1.hook_resid_pots", "did you mean `blocks.1.hook_resid_post`"),
        ("blocks.9.hook_resid_post", "`blocks` has 4 entries"),
        ("model.layers.2.ouptut", "did you mean `model.layers.2.output`"),
    ] {
        let error = named(&spec, text).unwrap_err();
        assert!(error.starts_with("E2001") && error.contains(says), "{text}: {error}");
    }
    // Of an architecture that the profile does not know, that is said.
    let mut m = ModelBuilder::new("other", DType::F32, 8, 8);
    let x = m.tokens();
    let x = m.module("layers.0", x, |_, x| x);
    let other = m.finish(x).unwrap();
    let error = hook(&other, "layers.0.output[0]").unwrap_err();
    assert!(error.notes[0].contains("`other`") && error.notes[0].contains("not known"), "{error}");
    assert!(named(&other, "blocks.0.hook_resid_pre").unwrap_err().contains("`other`"));
}

#[test]
fn places_keep_what_follows() {
    let spec = induction::spec().unwrap();
    let place = |text: &str| {
        let accesses = path::parse(text).unwrap();
        let place = profile::locate(&spec, &accesses).unwrap();
        (spec.hook_info(place.hook).name.to_string(), path::show(place.rest), place.tuple, place.whole)
    };
    let is = |name: &str, rest: &str, tuple, whole| (name.to_owned(), rest.to_owned(), tuple, whole);
    assert_eq!(place("model.layers[2].output"), is("model.layers.2.output", "", true, true));
    assert_eq!(place("model.layers[2].output[0][-1]"), is("model.layers.2.output", "[-1]", true, false));
    assert_eq!(place("lm_head.output[0][-1]"), is("lm_head.output", "[0][-1]", false, false));
}

#[test]
fn patterns_name_hooks() {
    let spec = induction::spec().unwrap();
    let names =
        |text: &str| hooks(&spec, text).map(|hooks| hooks.iter().map(|hook| spec.hook_info(*hook).name.to_string()).collect::<Vec<_>>());
    let layers = |range: std::ops::Range<usize>| range.map(|layer| format!("model.layers.{layer}.output")).collect::<Vec<_>>();
    for text in ["model.layers.*.output", "model.layers[*].output[0]", "model.layers.{0..3}.output.0", "blocks.*.hook_resid_post"] {
        assert_eq!(names(text).as_ref(), Ok(&layers(0..4)), "{text}");
    }
    assert_eq!(names("model.layers.{-2..-1}.output").unwrap(), layers(2..4));
    assert_eq!(names("blocks.{-2,-1}.hook_resid_post").unwrap(), layers(2..4));
    assert_eq!(names("model.layers[-1].output").unwrap(), layers(3..4));
    assert_eq!(names("**.{z,pattern}").unwrap()[..2], ["model.layers.0.self_attn.pattern", "model.layers.0.self_attn.z"]);
    let error = names("model.layers.*.self_atn.output").unwrap_err();
    assert!(error.code == Code::E2001 && error.help[0].starts_with("did you mean"), "{error}");
}
