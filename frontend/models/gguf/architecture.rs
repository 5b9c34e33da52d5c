//! The architectures of GGUF files in the words of Hugging Face: a table, and what reads a file by it.
//!
//! A row says which metadata become which fields of a `config.json`, and which tensors are called what in a Hugging Face
//! checkpoint; the model itself is built from that configuration, as every other. What a row does not know is refused by name,
//! since it could change the results.

use std::{f64::consts::PI, path::Path};

use irc_ir::{
    diagnostic::{Diagnostic, Span},
    model::ModelSpec,
};
use serde_json::{Value as Json, json};

use super::Gguf;
use crate::models::{
    architectures::{self, Config},
    cache::{self, Manifest, OnProgress, Origin},
    convert::{self, Checkpoint, Order, Tensor},
    tokenizer,
};

/// An architecture of GGUF files.
struct Architecture {
    /// The value of `general.architecture`; metadata keys begin with it.
    name: &'static str,
    /// Hugging Face's `model_type`.
    model_type: &'static str,
    /// Hugging Face's class.
    class: &'static str,
    /// Metadata key without the architecture's name, field of `config.json`, and what kind of value it is.
    fields: &'static [(&'static str, &'static str, Kind)],
    /// Keys that may only have the value that the size of a head has.
    sizes_of_a_head: &'static [&'static str],
    /// What the GGUF file does not say, because all models of the architecture have it.
    always: &'static [(&'static str, &'static str)],
    /// Fields of `config.json` that are true where the file has this tensor.
    present: &'static [(&'static str, &'static str)],
    /// Name of tensors in the file and in a Hugging Face checkpoint, both without `.weight` or `.bias`; `{}` is a layer.
    tensors: &'static [(&'static str, &'static str, Stored)],
}

/// How a metadata value is read.
#[derive(Clone, Copy)]
enum Kind {
    /// A number of things, at least one.
    Size,
    /// A number of heads; where there is none, that of query heads.
    KeyHeads,
    /// Elements of a head; where it is not given, the width shared out among the heads.
    HeadSize,
    /// Rotated elements of a head, in the configuration as their part of it.
    RotatedPart,
    /// A small positive number.
    Epsilon,
    /// The base of the rotary wavelengths; 10,000 where it is not given.
    RotaryBase,
    /// Yes or no.
    Flag,
}

/// In which order the file has a tensor.
#[derive(Clone, Copy)]
enum Stored {
    Same,
    Transposed,
    /// Interleaved for llama.cpp's rotary embedding.
    Interleaved,
    /// Queries, keys and values one after the other.
    Split,
}
use Stored::{Interleaved, Same, Split, Transposed};

const LLAMA_FIELDS: &[(&str, &str, Kind)] = &[
    ("embedding_length", "hidden_size", Kind::Size),
    ("feed_forward_length", "intermediate_size", Kind::Size),
    ("block_count", "num_hidden_layers", Kind::Size),
    ("attention.head_count", "num_attention_heads", Kind::Size),
    ("attention.head_count_kv", "num_key_value_heads", Kind::KeyHeads),
    ("attention.key_length", "head_dim", Kind::HeadSize),
    ("context_length", "max_position_embeddings", Kind::Size),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps", Kind::Epsilon),
    ("rope.freq_base", "rope_theta", Kind::RotaryBase),
];
const HEAD_SIZES: &[&str] = &["attention.value_length", "rope.dimension_count"];

#[rustfmt::skip]
const ARCHITECTURES: &[Architecture] = &[
    // Llama, and Mistral, whose files say `llama` too.
    Architecture {
        name: "llama", model_type: "llama", class: "LlamaForCausalLM",
        fields: LLAMA_FIELDS, sizes_of_a_head: HEAD_SIZES,
        always: &[("hidden_act", "silu")],
        present: &[("attention_bias", "blk.0.attn_q.bias")],
        tensors: &[
            ("token_embd", "model.embed_tokens", Same),
            ("blk.{}.attn_norm", "model.layers.{}.input_layernorm", Same),
            ("blk.{}.attn_q", "model.layers.{}.self_attn.q_proj", Interleaved),
            ("blk.{}.attn_k", "model.layers.{}.self_attn.k_proj", Interleaved),
            ("blk.{}.attn_v", "model.layers.{}.self_attn.v_proj", Same),
            ("blk.{}.attn_output", "model.layers.{}.self_attn.o_proj", Same),
            ("blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm", Same),
            ("blk.{}.ffn_gate", "model.layers.{}.mlp.gate_proj", Same),
            ("blk.{}.ffn_up", "model.layers.{}.mlp.up_proj", Same),
            ("blk.{}.ffn_down", "model.layers.{}.mlp.down_proj", Same),
            ("output_norm", "model.norm", Same),
            ("output", "lm_head", Same),
        ],
    },
    Architecture {
        name: "qwen2", model_type: "qwen2", class: "Qwen2ForCausalLM",
        fields: LLAMA_FIELDS, sizes_of_a_head: HEAD_SIZES,
        always: &[("hidden_act", "silu")],
        present: &[],
        tensors: QWEN_TENSORS,
    },
    Architecture {
        name: "qwen3", model_type: "qwen3", class: "Qwen3ForCausalLM",
        fields: LLAMA_FIELDS, sizes_of_a_head: HEAD_SIZES,
        always: &[("hidden_act", "silu")],
        present: &[("attention_bias", "blk.0.attn_q.bias")],
        tensors: QWEN_TENSORS,
    },
    Architecture {
        name: "gpt2", model_type: "gpt2", class: "GPT2LMHeadModel",
        fields: &[
            ("embedding_length", "n_embd", Kind::Size),
            ("feed_forward_length", "n_inner", Kind::Size),
            ("block_count", "n_layer", Kind::Size),
            ("attention.head_count", "n_head", Kind::Size),
            ("context_length", "n_positions", Kind::Size),
            ("attention.layer_norm_epsilon", "layer_norm_epsilon", Kind::Epsilon),
        ],
        sizes_of_a_head: &[],
        always: &[("activation_function", "gelu_new")],
        present: &[],
        // Hugging Face keeps GPT-2's matrices as [in, out], llama.cpp as [out, in].
        tensors: &[
            ("token_embd", "transformer.wte", Same),
            ("position_embd", "transformer.wpe", Same),
            ("blk.{}.attn_norm", "transformer.h.{}.ln_1", Same),
            ("blk.{}.attn_qkv", "transformer.h.{}.attn.c_attn", Transposed),
            ("blk.{}.attn_output", "transformer.h.{}.attn.c_proj", Transposed),
            ("blk.{}.ffn_norm", "transformer.h.{}.ln_2", Same),
            ("blk.{}.ffn_up", "transformer.h.{}.mlp.c_fc", Transposed),
            ("blk.{}.ffn_down", "transformer.h.{}.mlp.c_proj", Transposed),
            ("output_norm", "transformer.ln_f", Same),
            ("output", "lm_head", Same),
        ],
    },
    Architecture {
        name: "gptneox", model_type: "gpt_neox", class: "GPTNeoXForCausalLM",
        fields: &[
            ("embedding_length", "hidden_size", Kind::Size),
            ("feed_forward_length", "intermediate_size", Kind::Size),
            ("block_count", "num_hidden_layers", Kind::Size),
            ("attention.head_count", "num_attention_heads", Kind::Size),
            ("context_length", "max_position_embeddings", Kind::Size),
            ("attention.layer_norm_epsilon", "layer_norm_eps", Kind::Epsilon),
            ("rope.dimension_count", "rotary_pct", Kind::RotatedPart),
            ("rope.freq_base", "rotary_emb_base", Kind::RotaryBase),
            ("use_parallel_residual", "use_parallel_residual", Kind::Flag),
        ],
        sizes_of_a_head: &[],
        always: &[("hidden_act", "gelu")],
        present: &[],
        tensors: &[
            ("token_embd", "gpt_neox.embed_in", Same),
            ("blk.{}.attn_norm", "gpt_neox.layers.{}.input_layernorm", Same),
            ("blk.{}.attn_qkv", "gpt_neox.layers.{}.attention.query_key_value", Split),
            ("blk.{}.attn_output", "gpt_neox.layers.{}.attention.dense", Same),
            ("blk.{}.ffn_norm", "gpt_neox.layers.{}.post_attention_layernorm", Same),
            ("blk.{}.ffn_up", "gpt_neox.layers.{}.mlp.dense_h_to_4h", Same),
            ("blk.{}.ffn_down", "gpt_neox.layers.{}.mlp.dense_4h_to_h", Same),
            ("output_norm", "gpt_neox.final_layer_norm", Same),
            ("output", "embed_out", Same),
        ],
    },
];

/// llama.cpp's rotary embedding of Qwen is that of Hugging Face, so nothing is interleaved.
#[rustfmt::skip]
const QWEN_TENSORS: &[(&str, &str, Stored)] = &[
    ("token_embd", "model.embed_tokens", Same),
    ("blk.{}.attn_norm", "model.layers.{}.input_layernorm", Same),
    ("blk.{}.attn_q", "model.layers.{}.self_attn.q_proj", Same),
    ("blk.{}.attn_q_norm", "model.layers.{}.self_attn.q_norm", Same),
    ("blk.{}.attn_k", "model.layers.{}.self_attn.k_proj", Same),
    ("blk.{}.attn_k_norm", "model.layers.{}.self_attn.k_norm", Same),
    ("blk.{}.attn_v", "model.layers.{}.self_attn.v_proj", Same),
    ("blk.{}.attn_output", "model.layers.{}.self_attn.o_proj", Same),
    ("blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm", Same),
    ("blk.{}.ffn_gate", "model.layers.{}.mlp.gate_proj", Same),
    ("blk.{}.ffn_up", "model.layers.{}.mlp.up_proj", Same),
    ("blk.{}.ffn_down", "model.layers.{}.mlp.down_proj", Same),
    ("output_norm", "model.norm", Same),
    ("output", "lm_head", Same),
];

/// What llama.cpp divides the frequencies of the rotary embedding by, where Llama's are scaled.
const ROTARY_FACTORS: &str = "rope_freqs.weight";
/// The base of the rotary wavelengths where a file gives none.
const ROTARY_BASE: f64 = 10_000.0;

/// Keys that say nothing that would not be known otherwise.
const WITHOUT_EFFECT: &[&str] = &["vocab_size", "tensor_data_layout", "expert_used_count"];

/// The model that a GGUF file holds.
///
/// # Errors
/// E0011 naming the field, if the file is damaged or its model is not supported.
pub(in crate::models) fn spec(gguf: &Path) -> Result<ModelSpec, Diagnostic> {
    describe(&Reader::new(&Gguf::open(gguf)?)?, gguf).map(|(_, spec)| spec)
}

/// What the file describes, as a configuration of Hugging Face.
///
/// # Errors
/// E0011 naming the field, if the file is damaged or its model is not supported.
pub(in crate::models) fn config(gguf: &Path) -> Result<Config, Diagnostic> {
    Reader::new(&Gguf::open(gguf)?)?.config()
}

fn describe(reader: &Reader<'_>, gguf: &Path) -> Result<(Config, ModelSpec), Diagnostic> {
    let config = reader.config()?;
    let spec = architectures::spec(&config).map_err(|error| error.or_label(&Span::file(gguf, "")))?;
    Ok((config, spec))
}

/// Writes configuration, tokenizer and weights of a GGUF file into a folder.
pub(in crate::models) fn convert(
    name: &str,
    gguf: &Path,
    source: Origin,
    folder: &Path,
    progress: OnProgress<'_>,
) -> Result<Manifest, Diagnostic> {
    let file = Gguf::open(gguf)?;
    let reader = Reader::new(&file)?;
    let (config, spec) = describe(&reader, gguf)?;
    let weights = convert::plan(&spec, &reader)?;
    let mut folder = convert::Folder::new(folder);
    let text = serde_json::to_vec_pretty(&config).unwrap_or_default();
    folder.add(cache::CONFIG, |out| Ok(out.write_all(&text)?))?;
    folder.add(cache::TOKENIZER, |out| Ok(tokenizer::write_json(&file, out)?))?;
    folder.add_weights(&weights, progress)?;
    Ok(folder.finish(name, source))
}

/// A file whose architecture is known.
struct Reader<'a> {
    file: &'a Gguf,
    architecture: &'static Architecture,
    heads: usize,
    head_size: usize,
}

impl<'a> Reader<'a> {
    fn new(file: &'a Gguf) -> Result<Reader<'a>, Diagnostic> {
        let key = "general.architecture";
        let name = file.text(key)?.ok_or_else(|| file.missing(key))?;
        let Some(architecture) = ARCHITECTURES.iter().find(|architecture| architecture.name == name) else {
            let known: Vec<_> = ARCHITECTURES.iter().map(|architecture| architecture.name).collect();
            let message = format!("holds a model of the architecture `{name}`; this version imports {}", known.join(", "));
            return Err(file.fault(key, message));
        };
        let mut reader = Reader { file, architecture, heads: 1, head_size: 1 };
        reader.heads = reader.need("attention.head_count")?;
        let hidden = reader.need("embedding_length")?;
        reader.head_size = match reader.size("attention.key_length")? {
            Some(size) => size,
            None if hidden.is_multiple_of(reader.heads) => hidden / reader.heads,
            None => {
                let message = format!("has {} heads for a width of {hidden}", reader.heads);
                return Err(file.fault(&reader.key("attention.head_count"), message));
            }
        };
        reader.check()?;
        Ok(reader)
    }

    /// A metadata key of the architecture.
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture.name)
    }

    /// A number of rows or columns; u32 keeps every product of two below 2^64.
    fn size(&self, key: &str) -> Result<Option<usize>, Diagnostic> {
        let key = self.key(key);
        match self.file.uint(&key)? {
            None => Ok(None),
            Some(value) => match u32::try_from(value) {
                Ok(value) if value > 0 => Ok(Some(value as usize)),
                _ => Err(self.file.fault(&key, format!("has {value} for `{key}`"))),
            },
        }
    }

    fn need(&self, key: &str) -> Result<usize, Diagnostic> {
        self.size(key)?.ok_or_else(|| self.file.missing(&self.key(key)))
    }

    fn positive(&self, key: &str) -> Result<Option<f64>, Diagnostic> {
        let key = self.key(key);
        match self.file.float(&key)? {
            Some(value) if value > 0.0 => Ok(Some(shortest(value))),
            Some(value) => Err(self.file.fault(&key, format!("has {value} for `{key}`"))),
            None => Ok(None),
        }
    }

    /// Refuses what would change the results if it were passed over.
    fn check(&self) -> Result<(), Diagnostic> {
        let (file, architecture) = (self.file, self.architecture);
        for key in architecture.sizes_of_a_head {
            if self.size(key)?.is_some_and(|value| value != self.head_size) {
                let key = self.key(key);
                let message = format!("has a `{key}` other than {}, which this version does not support", self.head_size);
                return Err(file.fault(&key, message));
            }
        }
        let key = self.key("expert_count");
        if file.uint(&key)?.is_some_and(|count| count > 0) {
            return Err(file.fault(&key, "holds a mixture of experts, which this version does not support"));
        }
        let prefix = self.key("");
        let rotates = architecture.fields.iter().any(|(.., kind)| matches!(kind, Kind::RotaryBase));
        let known = |key: &str| {
            architecture.fields.iter().any(|(known, ..)| *known == key)
                || architecture.sizes_of_a_head.contains(&key)
                || WITHOUT_EFFECT.contains(&key)
                || key == "expert_count"
                || rotates && matches!(key, "rope.scaling.type" | "rope.scaling.factor")
        };
        if let Some(key) = file.keys().find(|key| key.strip_prefix(&prefix).is_some_and(|key| !known(key))) {
            return Err(file.fault(key, format!("sets `{key}`, which this version does not support")));
        }
        let layers = self.need("block_count")?;
        if layers > file.tensors().len() {
            let message = format!("counts {layers} layers, but has {} tensors", file.tensors().len());
            return Err(file.fault(&self.key("block_count"), message));
        }
        Ok(())
    }

    /// The configuration as Hugging Face writes it.
    fn config(&self) -> Result<Config, Diagnostic> {
        let (file, architecture) = (self.file, self.architecture);
        let key = "tokenizer.ggml.tokens";
        let vocabulary = file.texts(key)?.ok_or_else(|| file.missing(key))?.len();
        let mut config = Config::new();
        let mut set = |field: &str, value: Json| drop(config.insert(field.to_owned(), value));
        set("architectures", json!([architecture.class]));
        set("model_type", json!(architecture.model_type));
        set("torch_dtype", json!("float32"));
        set("vocab_size", json!(vocabulary));
        for (key, field, kind) in architecture.fields {
            set(field, self.field(key, *kind)?);
        }
        for (field, value) in architecture.always {
            set(field, json!(value));
        }
        for (field, tensor) in architecture.present {
            set(field, json!(file.has_tensor(tensor)));
        }
        set("rope_scaling", self.rotary_scaling()?.unwrap_or(Json::Null));
        set("tie_word_embeddings", json!(!file.has_tensor("output.weight")));
        for (which, field) in [("bos", "bos_token_id"), ("eos", "eos_token_id"), ("padding", "pad_token_id")] {
            let key = format!("tokenizer.ggml.{which}_token_id");
            match file.uint(&key)? {
                Some(id) if id >= vocabulary as u64 => {
                    return Err(file.fault(&key, format!("has the token {id} of {vocabulary} for `{key}`")));
                }
                id => set(field, json!(id)),
            }
        }
        Ok(config)
    }

    /// What makes the wavelengths of the rotary embedding longer, as `rope_scaling` of a configuration.
    fn rotary_scaling(&self) -> Result<Option<Json>, Diagnostic> {
        let (file, key) = (self.file, self.key("rope.scaling.type"));
        let factor = self.positive("rope.scaling.factor")?;
        let linear = match (file.text(&key)?, factor) {
            (Some("none"), _) | (None, None) => None,
            // A factor alone is one of this kind.
            (Some("linear") | None, Some(factor)) => Some(factor).filter(|factor| *factor != 1.0),
            (Some("linear"), None) => return Err(file.missing(&self.key("rope.scaling.factor"))),
            (Some(other), _) => {
                return Err(file.fault(&key, format!("scales its rotary embedding (`{other}`), which this version does not support")));
            }
        };
        match (linear, self.has_factors()) {
            (None, false) => Ok(None),
            (Some(factor), false) => Ok(Some(json!({ "rope_type": "linear", "factor": factor }))),
            (None, true) => self.llama3_scaling(),
            (Some(_), true) => Err(file.fault(ROTARY_FACTORS, "scales its rotary embedding in two ways at once")),
        }
    }

    fn has_factors(&self) -> bool {
        self.architecture.name == "llama" && self.file.has_tensor(ROTARY_FACTORS)
    }

    /// The scaling of Llama 3.1 and later. llama.cpp keeps only what it divides each frequency by, but the published models
    /// differ in the largest of these factors alone, so the rest can be computed from it and compared.
    fn llama3_scaling(&self) -> Result<Option<Json>, Diagnostic> {
        const ORIGINAL: f64 = 8192.0;
        const LOW: f64 = 1.0;
        const HIGH: f64 = 4.0;
        let tensor = self.file.tensor(ROTARY_FACTORS)?;
        let unlike =
            || self.file.fault(ROTARY_FACTORS, "scales its rotary embedding by other factors than Llama 3, which is not supported");
        if tensor.shape != [self.head_size / 2] || tensor.block != 1 {
            return Err(unlike());
        }
        let mut factors = vec![0.0; tensor.elements()];
        tensor.read(0, &mut factors);
        let base = self.positive("rope.freq_base")?.unwrap_or(ROTARY_BASE);
        let most = factors.last().map_or(1.0, |factor| shortest(f64::from(*factor)));
        let expected = |at: usize| {
            let wavelength = 2.0 * PI * base.powf(2.0 * at as f64 / self.head_size as f64);
            let smooth = ((ORIGINAL / wavelength - LOW) / (HIGH - LOW)).clamp(0.0, 1.0);
            1.0 / ((1.0 - smooth) / most + smooth)
        };
        // The converter computes in f32.
        let agrees = |(at, factor): (usize, &f32)| (f64::from(*factor) / expected(at) - 1.0).abs() < 1e-4;
        if !factors.iter().enumerate().all(agrees) {
            return Err(unlike());
        }
        let scaling = json!({
            "rope_type": "llama3", "factor": most, "low_freq_factor": LOW, "high_freq_factor": HIGH,
            "original_max_position_embeddings": ORIGINAL as u64,
        });
        Ok(Some(scaling).filter(|_| most != 1.0))
    }

    fn field(&self, key: &str, kind: Kind) -> Result<Json, Diagnostic> {
        Ok(match kind {
            Kind::Size => json!(self.need(key)?),
            Kind::KeyHeads => {
                let kv_heads = self.size(key)?.unwrap_or(self.heads);
                if !self.heads.is_multiple_of(kv_heads) {
                    return Err(self.file.fault(&self.key(key), format!("has {} heads for {kv_heads} key-value heads", self.heads)));
                }
                json!(kv_heads)
            }
            Kind::HeadSize => json!(self.head_size),
            Kind::RotatedPart => {
                let rotated = self.need(key)?;
                let part = rotated as f64 / self.head_size as f64;
                // Hugging Face multiplies and cuts off.
                if rotated > self.head_size || (part * self.head_size as f64) as usize != rotated {
                    return Err(self.file.fault(&self.key(key), format!("rotates {rotated} elements of a head of {}", self.head_size)));
                }
                json!(part)
            }
            Kind::Epsilon => json!(self.positive(key)?.ok_or_else(|| self.file.missing(&self.key(key)))?),
            Kind::RotaryBase => json!(self.positive(key)?.unwrap_or(ROTARY_BASE)),
            Kind::Flag => json!(self.file.flag(&self.key(key))?.ok_or_else(|| self.file.missing(&self.key(key)))?),
        })
    }

    /// What a tensor of a Hugging Face checkpoint is called in the file, and in which order it is there.
    fn find(&self, name: &str) -> Option<(String, Stored)> {
        let (stem, part) = name.rsplit_once('.').filter(|(_, part)| matches!(*part, "weight" | "bias"))?;
        self.architecture.tensors.iter().find_map(|(own, theirs, stored)| {
            let layer = match theirs.split_once("{}") {
                None => (*theirs == stem).then_some("")?,
                Some((before, after)) => stem.strip_prefix(before)?.strip_suffix(after)?,
            };
            layer.bytes().all(|byte| byte.is_ascii_digit()).then(|| (format!("{}.{part}", own.replace("{}", layer)), *stored))
        })
    }
}

impl Checkpoint for Reader<'_> {
    fn tensor(&self, name: &str) -> Result<Option<Tensor<'_>>, Diagnostic> {
        let Some((own, stored)) = self.find(name).filter(|(own, _)| self.file.has_tensor(own)) else { return Ok(None) };
        let order = match stored {
            Same => Order::Same,
            Transposed => Order::Transposed,
            Interleaved => Order::Interleaved { half: self.head_size / 2 },
            Split => Order::Split { heads: self.heads, size: self.head_size },
        };
        Ok(Some(Tensor { order, ..self.file.tensor(&own)? }))
    }

    fn names(&self) -> Vec<&str> {
        // The factors are part of the configuration.
        let read = |name: &&str| !(self.has_factors() && *name == ROTARY_FACTORS);
        self.file.tensors().iter().map(|tensor| tensor.name()).filter(read).collect()
    }

    fn own_name(&self, name: &str) -> String {
        self.find(name).map_or_else(|| name.to_owned(), |(own, _)| own)
    }

    fn fault(&self, own_name: &str, message: String) -> Diagnostic {
        self.file.fault(own_name, message)
    }
}

/// Numbers are stored as f32; the shortest that reads back as that f32 is what the model's makers wrote.
fn shortest(value: f64) -> f64 {
    (value as f32).to_string().parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, io};

    use super::*;
    use crate::models::{
        cache::{Cache, Scratch},
        fetch::fetch_into,
        gguf::build::Builder,
    };

    /// The tables against `gguf.TensorNameMap` of the Python package (`tests/scripts/record_gguf.py`).
    #[test]
    fn names_are_those_of_gguf() {
        let recorded = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/gguf_names.json")).unwrap();
        let recorded: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(&recorded).unwrap();
        assert_eq!(recorded.len(), ARCHITECTURES.len());
        let scratch = Scratch::new("names-of-gguf");
        let path = scratch.0.join("toy.gguf");
        fs::write(&path, Builder::default().bytes()).unwrap();
        let file = Gguf::open(&path).unwrap();
        for architecture in ARCHITECTURES {
            let reader = Reader { file: &file, architecture, heads: 1, head_size: 1 };
            for (theirs, own) in &recorded[architecture.name] {
                assert_eq!(reader.own_name(theirs), *own, "{}: {theirs}", architecture.name);
            }
            // Nothing in the table that the package does not know of this architecture.
            for (own, ..) in architecture.tensors {
                let own = own.replace("{}", "1");
                let known = recorded[architecture.name].values().any(|name| name.rsplit_once('.').is_some_and(|(stem, _)| stem == own));
                assert!(known || own.contains("_norm"), "{}: {own}", architecture.name);
            }
            assert!(reader.find("model.layers.x.self_attn.q_proj.weight").is_none() && reader.find("model.norm.other").is_none());
        }
    }

    #[test]
    fn configurations_are_those_of_hugging_face() {
        let scratch = Scratch::new("configurations");
        let path = scratch.0.join("toy.gguf");
        let config = |builder: Builder| {
            fs::write(&path, builder.texts("tokenizer.ggml.tokens", &["a", "b"]).bytes()).unwrap();
            let file = Gguf::open(&path).unwrap();
            let config = Reader::new(&file).and_then(|reader| reader.config());
            config.map(Json::Object).map_err(|error| error.message)
        };
        let sizes = |name: &str| {
            let key = |key: &str| format!("{name}.{key}");
            Builder::default()
                .text("general.architecture", name)
                .uint(&key("embedding_length"), 64)
                .uint(&key("feed_forward_length"), 128)
                .uint(&key("block_count"), 1)
                .uint(&key("attention.head_count"), 4)
                .uint(&key("context_length"), 256)
                .floats("token_embd.weight", &[1], [0.0])
        };
        let qwen = sizes("qwen3")
            .uint("qwen3.attention.head_count_kv", 2)
            .uint("qwen3.attention.key_length", 32)
            .uint("qwen3.attention.value_length", 32)
            .float("qwen3.attention.layer_norm_rms_epsilon", 1e-6)
            .float("qwen3.rope.freq_base", 1e6)
            .floats("output.weight", &[1], [0.0]);
        assert_eq!(
            config(qwen.clone()).unwrap(),
            json!({
                "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "torch_dtype": "float32", "vocab_size": 2,
                "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4,
                "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 256, "rms_norm_eps": 1e-6,
                "rope_theta": 1e6, "hidden_act": "silu", "attention_bias": false, "rope_scaling": null,
                "tie_word_embeddings": false, "bos_token_id": null, "eos_token_id": null, "pad_token_id": null,
            })
        );
        let plain = sizes("gptneox").float("gptneox.attention.layer_norm_epsilon", 1e-5);
        let neox = plain.clone().uint("gptneox.rope.dimension_count", 4).flag("gptneox.use_parallel_residual", true);
        let found = config(neox.clone()).unwrap();
        let wanted = (&json!(0.25), &json!(true), &json!(1e-5), &json!(1e4), &json!("gpt_neox"));
        let field = |field: &str| found.get(field).unwrap();
        assert_eq!(
            (field("rotary_pct"), field("use_parallel_residual"), field("layer_norm_eps"), field("rotary_emb_base"), field("model_type")),
            wanted
        );
        let scaled = config(qwen.clone().float("qwen3.rope.scaling.factor", 4.0)).unwrap();
        assert_eq!(scaled["rope_scaling"], json!({ "rope_type": "linear", "factor": 4.0 }));
        let gpt2 = config(sizes("gpt2").float("gpt2.attention.layer_norm_epsilon", 1e-5)).unwrap();
        assert_eq!((&gpt2["n_embd"], &gpt2["n_inner"], &gpt2["tie_word_embeddings"]), (&json!(64), &json!(128), &json!(true)));

        for (builder, wanted) in [
            (qwen.clone().uint("qwen3.attention.sliding_window", 64), "sets `qwen3.attention.sliding_window`"),
            (qwen.clone().text("qwen3.rope.scaling.type", "yarn"), "scales its rotary embedding (`yarn`)"),
            (qwen.text("qwen3.rope.scaling.type", "linear"), "has no metadata key `qwen3.rope.scaling.factor`"),
            (sizes("gpt2").float("gpt2.rope.scaling.factor", 4.0), "sets `gpt2.rope.scaling.factor`"),
            (neox.uint("gptneox.rope.dimension_count.x", 1), "sets `gptneox.rope.dimension_count.x`"),
            (plain.clone().flag("gptneox.use_parallel_residual", true).uint("gptneox.rope.dimension_count", 17), "rotates 17"),
            (plain.uint("gptneox.rope.dimension_count", 4).uint("gptneox.use_parallel_residual", 1), "that is not true or false"),
            (sizes("gpt2"), "has no metadata key `gpt2.attention.layer_norm_epsilon`"),
        ] {
            let error = config(builder).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }

    /// The factors of Llama 3.1 8B as transformers computes them (`tests/scripts/record_folders.py`).
    #[test]
    fn rotary_factors_of_llama_3() {
        let scratch = Scratch::new("factors");
        let path = scratch.0.join("toy.gguf");
        let recorded = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny.json")).unwrap();
        let recorded: Json = serde_json::from_slice(&recorded).unwrap();
        let factors: Vec<f32> = recorded["llama3_factors"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
        let scaling = |factors: &[f32]| {
            let builder = Builder::default()
                .text("general.architecture", "llama")
                .uint("llama.embedding_length", 4096)
                .uint("llama.attention.head_count", 32)
                .uint("llama.block_count", 1)
                .float("llama.rope.freq_base", 500_000.0)
                .floats("rope_freqs.weight", &[factors.len() as u64], factors.iter().copied());
            fs::write(&path, builder.bytes()).unwrap();
            let file = Gguf::open(&path).unwrap();
            let reader = Reader::new(&file).unwrap();
            assert!(reader.names().is_empty());
            reader.rotary_scaling()
        };
        let wanted = json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        });
        assert_eq!(scaling(&factors).unwrap(), Some(wanted));
        assert_eq!(scaling(&[1.0; 64]).unwrap(), None);
        let mut other = factors.clone();
        other[30] *= 1.001;
        for other in [&other[..], &factors[1..], &[f32::NAN; 64], &[0.0; 64], &[8.0; 64]] {
            assert_eq!(scaling(other).unwrap_err().code.name(), "E0011");
        }
    }

    #[test]
    fn a_head_of_its_own() {
        let scratch = Scratch::new("untied");
        let gguf = scratch.0.join("toy.gguf");
        fs::write(&gguf, Builder::llama(false).bytes()).unwrap();
        let model = fetch_into(&Cache::at(scratch.0.join("cache")), "toy", Some(&gguf), &mut |_| {}).unwrap();
        let (head, embedding) = (model.floats("lm_head.weight.T").1, model.floats("model.embed_tokens.weight").1);
        assert_eq!((embedding[0], head[0], head[1] - head[0]), (1.0, 1097.0, 8.0));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let scratch = Scratch::new("misfit");
        let cache = Cache::at(scratch.0.join("cache"));
        let field = |bytes: &[u8]| {
            let gguf = scratch.0.join("toy.gguf");
            fs::write(&gguf, bytes).unwrap();
            let error = fetch_into(&cache, "toy", Some(&gguf), &mut |_| {}).unwrap_err();
            match &error.labels[0].span {
                Span::File(of) => format!("{} {}", error.code.name(), of.field),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(field(&Builder::llama(true).floats("rope_freqs.weight", &[2], [2.0, 1.0]).bytes()), "E0011 rope_freqs.weight");
        assert_eq!(field(&Builder::llama(true).uint("llama.expert_count", 8).bytes()), "E0011 llama.expert_count");
        assert_eq!(field(&Builder::llama(true).uint("llama.rope.dimension_count", 2).bytes()), "E0011 llama.rope.dimension_count");
        assert_eq!(field(&Builder::llama(true).uint("tokenizer.ggml.eos_token_id", 5).bytes()), "E0011 tokenizer.ggml.eos_token_id");
        assert_eq!(field(&Builder::default().text("general.architecture", "gemma").bytes()), "E0011 general.architecture");
        assert!(cache.list().unwrap().is_empty());
    }

    #[test]
    fn damaged_files_end_in_diagnostics() {
        let scratch = Scratch::new("damaged");
        let good = Builder::llama(true).bytes();
        let gguf = scratch.0.join("toy.gguf");
        // All of the front; the weights behind it may have any value.
        for at in (0..1600.min(good.len())).step_by(7) {
            let mut bytes = good.clone();
            bytes[at] ^= 0x81;
            fs::write(&gguf, bytes).unwrap();
            let Ok(file) = Gguf::open(&gguf) else { continue };
            let Ok(reader) = Reader::new(&file) else { continue };
            let Ok(spec) = reader.config().and_then(|config| architectures::spec(&config)) else { continue };
            if let Ok(weights) = convert::plan(&spec, &reader) {
                convert::write_weights(&weights, &mut io::sink(), &mut |_| {}).unwrap();
            }
        }
    }
}
