//! What configurations may say: the largest model, hostile numbers, and what is refused instead of being ignored.

use irc::{
    ir::{code::Code, model::ModelSpec, types::Dim},
    models::architectures::{Config, spec},
};
use serde_json::{Value as Json, json};

fn object(config: Json) -> Config {
    config.as_object().expect("an object").clone()
}

fn llama(more: Json) -> Config {
    let mut config = object(json!({
        "model_type": "llama", "vocab_size": 43, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    }));
    config.extend(object(more));
    config
}

fn gpt2(more: Json) -> Config {
    let mut config = object(json!({"model_type": "gpt2", "vocab_size": 43, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2}));
    config.extend(object(more));
    config
}

fn gpt_neox(more: Json) -> Config {
    let mut config = object(json!({
        "model_type": "gpt_neox", "vocab_size": 43, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 64,
    }));
    config.extend(object(more));
    config
}

fn build(config: &Config) -> ModelSpec {
    spec(config).unwrap_or_else(|error| panic!("{config:?}: {error:?}"))
}

fn hook_type(spec: &ModelSpec, hook: &str) -> String {
    spec.hook_type(spec.hook(hook).expect("the hook is there")).to_string()
}

/// Llama 3.1 70B, without its weights.
#[test]
fn the_geometry_of_70_billion() {
    let spec = build(&llama(json!({
        "vocab_size": 128256, "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
        "num_key_value_heads": 8, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192},
    })));
    assert_eq!(spec.parameters(), Dim::known(70_553_706_496));
    assert_eq!(spec.hooks().len(), 80 * 32 + 8);
    assert_eq!(spec.stages().len(), 80 * 3 + 2);
    assert_eq!(hook_type(&spec, "model.layers.79.self_attn.q"), "tensor<BxTx64x128xf32>");
    assert_eq!(hook_type(&spec, "model.layers.79.self_attn.k"), "tensor<BxTx8x128xf32>");
    assert_eq!(hook_type(&spec, "model.layers.40.self_attn.pattern"), "tensor<Bx64xTxTxf32>");
    assert_eq!(hook_type(&spec, "model.layers.0.mlp.act_fn.output"), "tensor<BxTx28672xf32>");
    assert_eq!(hook_type(&spec, "lm_head.output"), "tensor<BxTx128256xf32>");
    // What reaches what, over all layers.
    let hook = |name: &str| spec.hook(name).expect("the hook is there");
    for (from, to, reaches) in [
        ("model.embed_tokens.input", "lm_head.output", true),
        ("model.layers.3.output", "model.layers.79.self_attn.z", true),
        ("model.layers.3.self_attn.v", "model.layers.3.self_attn.pattern", false),
        ("model.layers.3.self_attn.v", "model.layers.4.self_attn.pattern", true),
        ("model.layers.79.output", "model.layers.78.output", false),
    ] {
        assert_eq!(spec.reaches(hook(from), hook(to)), reaches, "{from} and {to}");
    }
}

#[test]
fn hostile_numbers_are_errors_that_name_the_field() {
    let fields = |config: &Config| config.iter().filter(|(_, value)| value.is_number()).map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let hostile =
        [json!(0), json!(-1), json!(u64::MAX), json!(1u64 << 40), json!(1e300), json!(1.5), json!("many"), json!([1]), json!(true)];
    let models = ["llama", "mistral", "qwen2", "qwen3"].map(|kind| llama(json!({"model_type": kind})));
    for config in models.into_iter().chain([gpt2(json!({})), gpt_neox(json!({}))]) {
        build(&config);
        for field in fields(&config) {
            for value in &hostile {
                let mut config = config.clone();
                config.insert(field.clone(), value.clone());
                let error = spec(&config).expect_err("the number is wrong");
                assert!(error.code == Code::E0011 && error.message.contains(&format!("`{field}`")), "{field} {value}: {error:?}");
            }
            let mut config = config.clone();
            config.remove(&field);
            if field != "num_key_value_heads" || config["model_type"] != "llama" {
                let missing = spec(&config).err().map(|error| error.message).unwrap_or_default();
                // Without the field there are as many key and value heads as the class in transformers has.
                assert!(missing.contains(&field), "{field}: {missing}");
            }
        }
    }
}

#[test]
fn what_is_not_supported_is_refused() {
    let rope = |kind: &str, more: Json| {
        let mut scaling = object(json!({"rope_type": kind}));
        scaling.extend(object(more));
        llama(json!({"rope_scaling": scaling}))
    };
    let qwen2 = |more: Json| {
        let mut config = llama(json!({"model_type": "qwen2"}));
        config.extend(object(more));
        config
    };
    for (config, field) in [
        (llama(json!({"model_type": "llame"})), "llame"),
        (llama(json!({"model_type": 3})), "`model_type`"),
        (llama(json!({"hidden_act": "mish"})), "`hidden_act`"),
        (llama(json!({"attention_bias": 1})), "`attention_bias`"),
        (llama(json!({"head_dim": 5})), "`head_dim`"),
        (llama(json!({"num_key_value_heads": 3})), "`num_key_value_heads`"),
        (llama(json!({"quantization_config": {"bits": 4}})), "`quantization_config`"),
        (llama(json!({"partial_rotary_factor": 0.5})), "`partial_rotary_factor`"),
        (llama(json!({"rms_norm_eps": -1.0})), "`rms_norm_eps`"),
        (llama(json!({"rope_theta": 0.0})), "`rope_theta`"),
        (llama(json!({"rope_scaling": "linear"})), "`rope_scaling`"),
        (rope("ntk", json!({"factor": 2.0})), "`rope_scaling.rope_type`"),
        (rope("linear", json!({})), "`rope_scaling.factor`"),
        (rope("linear", json!({"factor": 2.0, "type": "dynamic"})), "`rope_scaling.type`"),
        (rope("linear", json!({"factor": 0.0})), "`rope_scaling.factor`"),
        (rope("linear", json!({"factor": 1e-60})), "`rope_scaling"),
        (rope("yarn", json!({"factor": 2.0, "truncate": false})), "`rope_scaling.truncate`"),
        (rope("yarn", json!({"factor": 2.0, "beta_fast": -1.0})), "`rope_scaling.beta_fast`"),
        (rope("llama3", json!({"factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 1.0})), "`rope_scaling.high_freq_factor`"),
        (rope("llama3", json!({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0})), "original_max_position_embeddings`"),
        (rope("longrope", json!({"short_factor": [1.0, 1.0], "long_factor": [1.0]})), "`rope_scaling.long_factor`"),
        (rope("longrope", json!({"short_factor": [1.0, 1.0], "long_factor": [1.0, 1.0]})), "`rope_scaling.factor`"),
        (qwen2(json!({"max_window_layers": -1})), "`max_window_layers`"),
        (qwen2(json!({"use_sliding_window": true, "sliding_window": 0})), "`sliding_window`"),
        (qwen2(json!({"layer_types": ["full_attention", "sliding_attention"]})), "`layer_types`"),
        (gpt2(json!({"n_head": 3})), "`n_head`"),
        (gpt2(json!({"add_cross_attention": true})), "`add_cross_attention`"),
        (gpt2(json!({"activation_function": "silly"})), "`activation_function`"),
        (gpt2(json!({"pruned_heads": {"0": [1]}})), "`pruned_heads`"),
        (gpt2(json!({"reorder_and_upcast_attn": "no"})), "`reorder_and_upcast_attn`"),
        (gpt_neox(json!({"rotary_pct": 0.4})), "`rotary_pct`"),
        (gpt_neox(json!({"rotary_pct": 2.0})), "`rotary_pct`"),
        (gpt_neox(json!({"partial_rotary_factor": 1.0})), "`partial_rotary_factor`"),
        (gpt_neox(json!({"num_attention_heads": 5})), "`num_attention_heads`"),
    ] {
        let error = spec(&config).map(drop).expect_err(field);
        assert!(error.code == Code::E0011 && error.message.contains(field), "{field}: {error:?}");
    }
}

/// Kinds of scaling that depend on the length of the sequence hold up to where they begin to; there the context ends.
#[test]
fn what_depends_on_the_length_ends_the_context() {
    let context = |config: Config| build(&config).context();
    assert_eq!(context(llama(json!({"rope_scaling": {"type": "dynamic", "factor": 4.0}}))), 64);
    let longrope = json!({"rope_type": "longrope", "short_factor": [1.0, 2.0], "long_factor": [3.0, 4.0], "factor": 4.0});
    assert_eq!(context(llama(json!({"rope_scaling": longrope}))), 64);
    assert_eq!(context(llama(json!({"rope_scaling": longrope, "original_max_position_embeddings": 16}))), 16);
    assert_eq!(context(llama(json!({"rope_scaling": {"rope_type": "linear", "factor": 4.0}}))), 64);
}

/// The base and the scaling in one object, as newer configurations have them, mean what they mean in two.
#[test]
fn rope_parameters_are_read() {
    let old = llama(json!({"rope_theta": 100.0, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}));
    let new = llama(json!({"rope_parameters": {"rope_theta": 100.0, "rope_type": "linear", "factor": 4.0}}));
    let nodes = |config: &Config| build(config).graph().nodes().map(|(_, node)| node.op.clone()).collect::<Vec<_>>();
    assert!(nodes(&old) == nodes(&new) && nodes(&old) != nodes(&llama(json!({}))));
}
