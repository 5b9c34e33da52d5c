//! Hugging Face folders: `config.json`, `tokenizer.json`, and a checkpoint of safetensors files.
//!
//! A folder with a configuration alone is a model without weights: its hooks can be listed and programs checked. The checkpoint
//! is converted into the cache when weights are first needed. Files come from anywhere, so nothing in them is believed: sizes
//! are bounded before anything is read, headers are checked by the safetensors library against the file, an index can only name
//! files of its own folder, and what does not fit is a [`Diagnostic`] that names the file and the tensor.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
};

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
    model::ModelSpec,
};
use memmap2::Mmap;
use safetensors::{SafeTensors, tensor::Dtype};
use serde::Deserialize;

use super::{
    architectures::{self, Config},
    cache::{self, Cache, CachedModel, OnProgress, Origin, Progress, cannot},
    convert::{self, Decode, Order, Tensor, bf16_values, f16_values, f32_values},
};

/// The checkpoint, where it is one file.
const WEIGHTS: &str = "model.safetensors";
/// Where it is several: which tensor is in which.
const INDEX: &str = "model.safetensors.index.json";

/// A configuration has a few kilobytes; nothing larger is read.
const CONFIG_LIMIT: u64 = 1 << 20;
/// An index has some 80 bytes a tensor; the largest that are published have 9 MB.
const INDEX_LIMIT: u64 = 64 << 20;

/// A folder with a model in Hugging Face's format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder, if it has a configuration.
    ///
    /// # Errors
    /// E4002 if it has none.
    pub fn open(path: &Path) -> Result<Folder, Diagnostic> {
        if path.join(cache::CONFIG).is_file() {
            return Ok(Folder { path: path.to_owned() });
        }
        let error = Diagnostic::error(Code::E4002, format!("the folder {} holds no model: it has no {}", path.display(), cache::CONFIG))
            .label(Span::file(path, ""), "");
        // What Hugging Face's own cache looks like.
        Err(match path.join("snapshots").is_dir() {
            true => error.help(format!("give one of the folders in {}", path.join("snapshots").display())),
            false => error.help("a model's folder has config.json, and for runs tokenizer.json and safetensors files"),
        })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the configuration describes.
    ///
    /// # Errors
    /// E0011 naming the field, if the configuration is damaged or not supported.
    pub fn spec(&self) -> Result<ModelSpec, Diagnostic> {
        let path = self.path.join(cache::CONFIG);
        spec(&read_config(&path, Code::E0011)?, &path)
    }

    /// The tokenizer, if the folder has one.
    pub fn tokenizer(&self) -> Option<PathBuf> {
        Some(self.path.join(cache::TOKENIZER)).filter(|path| path.is_file())
    }

    /// The files of the checkpoint.
    ///
    /// # Errors
    /// E4002 naming what is missing; E0011 if the index is damaged.
    pub fn weights(&self) -> Result<Vec<PathBuf>, Diagnostic> {
        Ok(self.files()?.0)
    }

    /// The files of the checkpoint; where there is an index, the file that it gives for each tensor.
    fn files(&self) -> Result<(Vec<PathBuf>, Option<Index>), Diagnostic> {
        let (single, index) = (self.path.join(WEIGHTS), self.path.join(INDEX));
        if single.is_file() {
            return Ok((vec![single], None));
        }
        if !index.is_file() {
            return Err(self.without_weights());
        }
        let map = read_index(&index)?;
        let names: BTreeSet<&String> = map.values().collect();
        let missing: Vec<_> = names.iter().filter(|name| !self.path.join(name).is_file()).collect();
        if !missing.is_empty() {
            let (count, all, missing) = (missing.len(), names.len(), convert::list(&missing));
            let message = format!("{count} of the {all} files of the checkpoint are missing: {missing}");
            return Err(Diagnostic::error(Code::E4002, message)
                .label(Span::file(&index, "weight_map"), "")
                .help(format!("get the rest of them into {}", self.path.display())));
        }
        let paths = names.into_iter().map(|name| self.path.join(name)).collect();
        Ok((paths, Some(map)))
    }

    fn without_weights(&self) -> Diagnostic {
        let error = Diagnostic::error(Code::E4002, format!("the model in {} has no weights here", self.path.display()))
            .label(Span::file(&self.path, ""), "")
            .note("its configuration is enough to list hooks and to check programs, but not to run them");
        let has = |name: &str| self.path.join(name).is_file();
        match has("pytorch_model.bin") || has("pytorch_model.bin.index.json") {
            true => error.help(
                "its pytorch_model.bin can run code when it is read, so it is not: in Python, \
                 `AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder)` writes safetensors",
            ),
            false => error.help(format!("missing: {WEIGHTS}, or {INDEX} with the files that it names")),
        }
    }

    /// The model of this folder in the cache: converted unless it is there.
    ///
    /// # Errors
    /// E4002 if weights are missing, E0011 if the checkpoint is damaged or does not fit the configuration.
    pub(super) fn import(&self, cache: &Cache, name: &str, progress: OnProgress<'_>) -> Result<CachedModel, Diagnostic> {
        // What does not fit is found before the long work of reading all of it.
        let config_path = self.path.join(cache::CONFIG);
        let config = cache::read_limited(&config_path, CONFIG_LIMIT)?;
        let spec = spec(&parse_config(&config, &config_path, Code::E0011)?, &config_path)?;
        let checkpoint = Checkpoint::open(self)?;
        let weights = convert::plan(&spec, &checkpoint)?;

        // The model is known by its files: by the SHA-256 of the list that `sha256sum` would print of them.
        let carried: Vec<&str> = [cache::TOKENIZER, cache::GENERATION].into_iter().filter(|name| self.path.join(name).is_file()).collect();
        let others = carried.iter().map(|name| self.path.join(name));
        let shards = checkpoint.files.iter().map(|(path, _)| path.clone());
        let paths: Vec<PathBuf> = [config_path].into_iter().chain(others).chain(shards).collect();
        let total = paths.iter().filter_map(|path| path.metadata().ok()).map(|file| file.len()).sum();
        let (mut list, mut before) = (String::new(), 0);
        for path in paths {
            let mut read = 0;
            let sha256 = cache.sha256_of(&path, &mut |now| {
                read = now.done;
                progress(Progress { done: before + now.done, total, ..now });
            })?;
            before += read;
            list += &format!("{sha256}  {}\n", path.file_name().unwrap_or_default().to_string_lossy());
        }
        let sha256 = cache::sha256_of_text(&list);
        let file = cache::named(&self.path);
        let file = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let origin = Origin { package: None, file, sha256: sha256.clone() };
        cache.get_or_make(name, &sha256, progress, |tmp, progress| {
            let path = tmp.join("model");
            let mut folder = convert::Folder::new(&path);
            folder.add(cache::CONFIG, |out| Ok(out.write_all(&config)?))?;
            for name in carried {
                let path = self.path.join(name);
                let mut file = File::open(&path).map_err(|error| cannot("open", &path, &error))?;
                folder.add(name, |mut out| Ok(std::io::copy(&mut file, &mut out).map(drop)?))?;
            }
            folder.add_weights(&weights, progress)?;
            Ok(folder.finish(name, origin))
        })
    }
}

/// A `config.json`.
///
/// # Errors
/// `code` naming the line.
pub(super) fn read_config(path: &Path, code: Code) -> Result<Config, Diagnostic> {
    let bytes = cache::read_limited(path, CONFIG_LIMIT)?;
    parse_config(&bytes, path, code)
}

fn parse_config(bytes: &[u8], path: &Path, code: Code) -> Result<Config, Diagnostic> {
    serde_json::from_slice(bytes).map_err(|error| {
        Diagnostic::error(code, format!("the configuration cannot be read: {error}"))
            .label(Span::file(path, format!("line {}", error.line())), "")
    })
}

/// The model that a `config.json` describes.
///
/// # Errors
/// E0011 naming the field.
pub(super) fn spec(config: &Config, path: &Path) -> Result<ModelSpec, Diagnostic> {
    architectures::spec(config).map_err(|error| error.or_label(&Span::file(path, "")))
}

/// The file of each tensor.
type Index = BTreeMap<String, String>;

fn read_index(path: &Path) -> Result<Index, Diagnostic> {
    #[derive(Deserialize)]
    struct IndexFile {
        weight_map: Index,
    }
    let bytes = cache::read_limited(path, INDEX_LIMIT)?;
    let index: IndexFile = serde_json::from_slice(&bytes).map_err(|error| {
        Diagnostic::error(Code::E0011, format!("the index of the checkpoint cannot be read: {error}"))
            .label(Span::file(path, format!("line {}", error.line())), "")
    })?;
    // A name with a separator, a drive or `..` could lead out of the folder.
    let fine = |name: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        name.ends_with(".safetensors") && !name.starts_with('.') && name.chars().all(plain)
    };
    if let Some((tensor, file)) = index.weight_map.iter().find(|(_, file)| !fine(file)) {
        let message =
            format!("the index of the checkpoint says that `{tensor}` is in {file:?}, which is no safetensors file of its folder");
        return Err(Diagnostic::error(Code::E0011, message).label(Span::file(path, tensor.as_str()), ""));
    }
    if index.weight_map.is_empty() {
        return Err(
            Diagnostic::error(Code::E0011, "the index of the checkpoint names no tensors").label(Span::file(path, "weight_map"), "")
        );
    }
    Ok(index.weight_map)
}

/// The prefixes by which the names of whole models differ from those of their base models, which lack the head.
const PREFIXES: [&str; 3] = ["model.", "transformer.", "gpt_neox."];

/// Ends of names of what older versions of transformers saved though it can be computed: masks and rotary frequencies.
const BUFFERS: [&str; 5] = [".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"];

/// The tensors of a checkpoint, in mapped files.
struct Checkpoint {
    folder: PathBuf,
    files: Vec<(PathBuf, Mmap)>,
    tensors: BTreeMap<String, Place>,
}

/// Where a tensor is.
struct Place {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// In the file.
    start: usize,
    end: usize,
}

impl Checkpoint {
    fn open(folder: &Folder) -> Result<Checkpoint, Diagnostic> {
        let (paths, index) = folder.files()?;
        let (mut files, mut tensors) = (Vec::new(), BTreeMap::<String, Place>::new());
        for path in paths {
            let file = File::open(&path).map_err(|error| cannot("open", &path, &error))?;
            // SAFETY: the map is read-only. Whoever cuts the user's own file short while it is being converted gets a signal
            // from the system, as with every mapped file.
            let map = unsafe { Mmap::map(&file) }.map_err(|error| cannot("map", &path, &error))?;
            let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|error| {
                Diagnostic::error(Code::E0011, format!("the safetensors file is damaged: {error}"))
                    .label(Span::file(&path, "header"), "")
                    .help("get it again; an interrupted download, or a pointer file of git-lfs in its place, looks like this")
            })?;
            let name_of = path.file_name().unwrap_or_default();
            for (name, info) in metadata.tensors() {
                let wrong = |message: String| {
                    Diagnostic::error(Code::E0011, format!("the checkpoint {message}")).label(Span::file(&path, name.as_str()), "")
                };
                if let Some(index) = &index
                    && index.get(&name).is_none_or(|file| file.as_str() != name_of)
                {
                    return Err(wrong(format!("holds the tensor `{name}` in another file than its index says")));
                }
                let at = |offset: usize| offset.checked_add(8 + header).filter(|at| *at <= map.len());
                let (Some(start), Some(end)) = (at(info.data_offsets.0), at(info.data_offsets.1)) else {
                    return Err(wrong(format!("ends before the data of `{name}` does")));
                };
                let place = Place { file: files.len(), dtype: info.dtype, shape: info.shape.clone(), start, end };
                if tensors.insert(name.clone(), place).is_some() {
                    return Err(wrong(format!("holds the tensor `{name}` twice")));
                }
            }
            files.push((path, map));
        }
        if let Some((name, file)) = index.iter().flatten().find(|(name, _)| !tensors.contains_key(*name)) {
            return Err(Diagnostic::error(Code::E0011, format!("the checkpoint has no tensor `{name}`, though its index lists it"))
                .label(Span::file(&folder.path.join(file), name.as_str()), ""));
        }
        Ok(Checkpoint { folder: folder.path.clone(), files, tensors })
    }

    fn find(&self, name: &str) -> Option<(&String, &Place)> {
        self.tensors.get_key_value(name).or_else(|| {
            let base = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix))?;
            self.tensors.get_key_value(base)
        })
    }
}

impl convert::Checkpoint for Checkpoint {
    fn tensor(&self, name: &str) -> Result<Option<Tensor<'_>>, Diagnostic> {
        let Some((name, place)) = self.find(name) else { return Ok(None) };
        let (block_bytes, decode): (usize, Decode) = match place.dtype {
            Dtype::F32 => (4, f32_values),
            Dtype::F16 => (2, f16_values),
            Dtype::BF16 => (2, bf16_values),
            other => {
                return Err(self
                    .fault(name, format!("holds the tensor `{name}` as {other:?}; weights can be F32, F16 or BF16"))
                    .help("a quantized checkpoint has to be had in full precision, or as a GGUF file"));
            }
        };
        let bytes = self.files[place.file].1.get(place.start..place.end).unwrap_or_default();
        Ok(Some(Tensor { name, shape: &place.shape, bytes, block: 1, block_bytes, decode, order: Order::Same }))
    }

    fn names(&self) -> Vec<&str> {
        let counts = |name: &&str| !BUFFERS.iter().any(|end| name.ends_with(end));
        self.tensors.keys().map(String::as_str).filter(counts).collect()
    }

    fn own_name(&self, name: &str) -> String {
        self.find(name).map_or(name, |(name, _)| name).to_owned()
    }

    fn fault(&self, own_name: &str, message: String) -> Diagnostic {
        let path = match (self.tensors.get(own_name), self.files.as_slice()) {
            (Some(place), files) => &files[place.file].0,
            (None, [(path, _)]) => path,
            (None, _) => &self.folder,
        };
        Diagnostic::error(Code::E0011, format!("the checkpoint {message}")).label(Span::file(path, own_name), "")
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, fs};

    use half::{bf16, f16};
    use safetensors::tensor::TensorView;
    use serde_json::json;

    use super::{super::cache::Scratch, *};

    /// Tensors of a checkpoint that is being made.
    type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

    /// A Llama of one layer: hidden 8, two heads of 4 with one key-value head, 5 tokens. Elements are numbered through.
    fn toy(tied: bool) -> (serde_json::Value, Tensors) {
        let config = json!({
            "model_type": "llama", "vocab_size": 5, "hidden_size": 8, "intermediate_size": 6, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "max_position_embeddings": 16,
            "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "hidden_act": "silu", "tie_word_embeddings": tied,
        });
        let mut value = 0.0;
        let layer = |name: &str| format!("model.layers.0.{name}.weight");
        let tensors = [
            ("model.embed_tokens.weight".to_owned(), vec![5, 8]),
            (layer("input_layernorm"), vec![8]),
            (layer("self_attn.q_proj"), vec![8, 8]),
            (layer("self_attn.k_proj"), vec![4, 8]),
            (layer("self_attn.v_proj"), vec![4, 8]),
            (layer("self_attn.o_proj"), vec![8, 8]),
            (layer("post_attention_layernorm"), vec![8]),
            (layer("mlp.gate_proj"), vec![6, 8]),
            (layer("mlp.up_proj"), vec![6, 8]),
            (layer("mlp.down_proj"), vec![8, 6]),
            ("model.norm.weight".to_owned(), vec![8]),
            ("lm_head.weight".to_owned(), vec![5, 8]),
        ];
        let numbered = tensors.into_iter().filter(|(name, _)| !tied || name != "lm_head.weight").map(|(name, shape)| {
            let bytes = (0..shape.iter().product()).flat_map(|_: usize| {
                value += 1.0;
                f32::to_le_bytes(value)
            });
            let bytes = bytes.collect();
            (name, (Dtype::F32, shape, bytes))
        });
        (config, numbered.collect())
    }

    fn file(tensors: &Tensors) -> Vec<u8> {
        let views = tensors.iter().map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
        safetensors::serialize(views.collect::<HashMap<_, _>>(), None).unwrap()
    }

    /// A folder with these files in the place of all that was in it.
    fn write(path: &Path, files: &[(&str, Vec<u8>)]) -> Folder {
        let _ = fs::remove_dir_all(path);
        fs::create_dir_all(path).unwrap();
        files.iter().for_each(|(name, bytes)| fs::write(path.join(name), bytes).unwrap());
        Folder { path: path.to_owned() }
    }

    /// What the floats of a toy become in another element type.
    fn cast(tensors: &mut Tensors, to: Dtype) {
        for (dtype, _, bytes) in tensors.values_mut() {
            let floats = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            *bytes = match to {
                Dtype::F16 => floats.flat_map(|value| f16::from_f32(value * 0.37).to_le_bytes()).collect(),
                Dtype::BF16 => floats.flat_map(|value| bf16::from_f32(value * 0.37).to_le_bytes()).collect(),
                _ => floats.flat_map(|value| (value * 0.37).to_le_bytes()).collect(),
            };
            *dtype = to;
        }
    }

    #[test]
    fn every_element_type_single_and_sharded() {
        let scratch = Scratch::new("folder");
        let cache = Cache::at(scratch.0.join("cache"));
        for (to, round) in [
            (Dtype::F32, (|value| value) as fn(f32) -> f32),
            (Dtype::F16, |value| f16::from_f32(value).to_f32()),
            (Dtype::BF16, |value| bf16::from_f32(value).to_f32()),
        ] {
            let (config, mut tensors) = toy(false);
            cast(&mut tensors, to);
            let config = config.to_string().into_bytes();
            let folder = write(&scratch.0.join("whole"), &[("config.json", config.clone()), (WEIGHTS, file(&tensors))]);
            let whole = folder.import(&cache, "whole", &mut |_| {}).unwrap();
            let values = |from: usize, count: usize| (from..from + count).map(|value| round(value as f32 * 0.37)).collect::<Vec<f32>>();
            assert_eq!(whole.floats("model.embed_tokens.weight"), (vec![5, 8], values(1, 40)), "{to:?}");
            let down = whole.floats("model.layers.0.mlp.down_proj.weight.T");
            let first = 1 + 40 + 8 + 64 + 32 + 32 + 64 + 8 + 48 + 48;
            let turned = (0..6).flat_map(|column| (0..8).map(move |row| first + row * 6 + column));
            assert_eq!(down, (vec![6, 8], turned.map(|value| round(value as f32 * 0.37)).collect()), "{to:?}");

            // The same in two files, by the names of the base model, with a buffer of old versions, and with what else there may be.
            let (mut front, mut back) = (Tensors::new(), Tensors::new());
            for (name, tensor) in &tensors {
                let part = if name.contains("mlp") { &mut back } else { &mut front };
                part.insert(name.strip_prefix("model.").unwrap_or(name).to_owned(), tensor.clone());
            }
            front.insert("layers.0.self_attn.rotary_emb.inv_freq".into(), (Dtype::I8, vec![2], vec![0, 0]));
            let (a, b) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
            let map = |part: &Tensors, file: &str| part.keys().map(|name| (name.clone(), json!(file))).collect::<Vec<_>>();
            let map: serde_json::Map<_, _> = map(&front, a).into_iter().chain(map(&back, b)).collect();
            let index = json!({ "metadata": { "total_size": 1 }, "weight_map": map }).to_string().into_bytes();
            let generation = json!({ "bos_token_id": 0 }).to_string().into_bytes();
            let files = [("config.json", config), (a, file(&front)), (b, file(&back)), (INDEX, index), (cache::GENERATION, generation)];
            let folder = write(&scratch.0.join("parts"), &files);
            let parts = folder.import(&cache, "parts", &mut |_| {}).unwrap();
            assert_eq!(parts.manifest().files[cache::WEIGHTS], whole.manifest().files[cache::WEIGHTS], "{to:?}");
            assert!(parts.manifest().files.contains_key(cache::GENERATION) && parts.tokenizer().is_none());
            assert_ne!(parts.manifest().source.sha256, whole.manifest().source.sha256);

            // Again, and nothing is done.
            assert_eq!(folder.import(&cache, "parts", &mut |now| assert_ne!(now.stage, cache::Stage::Converting)).unwrap(), parts);
            fs::remove_file(folder.path.join(b)).unwrap();
            let error = folder.import(&cache, "parts", &mut |_| {}).unwrap_err();
            assert!(error.code == Code::E4002 && error.message.contains(b), "{error}");
        }
    }

    #[test]
    fn tied_weights_come_from_either() {
        let scratch = Scratch::new("tied");
        let cache = Cache::at(scratch.0.join("cache"));
        let import = |config: &serde_json::Value, tensors: &Tensors| {
            let files = [("config.json", config.to_string().into_bytes()), (WEIGHTS, file(tensors))];
            write(&scratch.0.join("toy"), &files).import(&cache, "toy", &mut |_| {})
        };
        let (config, tensors) = toy(true);
        let embedding = tensors["model.embed_tokens.weight"].clone();
        let whole = import(&config, &tensors).unwrap().manifest().files[cache::WEIGHTS].clone();
        let mut both = tensors.clone();
        both.insert("lm_head.weight".into(), embedding.clone());
        let mut head = both.clone();
        head.remove("model.embed_tokens.weight");
        for tensors in [&both, &head] {
            assert_eq!(import(&config, tensors).unwrap().manifest().files[cache::WEIGHTS], whole);
        }
        both.get_mut("lm_head.weight").unwrap().2[0] ^= 1;
        let error = import(&config, &both).unwrap_err();
        assert!(error.code == Code::E0011 && error.message.contains("ties them"), "{error}");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let scratch = Scratch::new("folder-misfit");
        let cache = Cache::at(scratch.0.join("cache"));
        let (config, tensors) = toy(false);
        let import = |files: &[(&str, Vec<u8>)]| {
            let error = write(&scratch.0.join("toy"), files).import(&cache, "toy", &mut |_| {}).unwrap_err();
            let field = match error.labels.first().map(|label| &label.span) {
                Some(Span::File(of)) => {
                    format!("{} {}", of.path.rsplit('/').next().unwrap(), of.field)
                }
                other => panic!("{other:?}"),
            };
            (error, field)
        };
        let text = |json: &serde_json::Value| json.to_string().into_bytes();
        let changed = |change: &dyn Fn(&mut Tensors)| {
            let mut tensors = tensors.clone();
            change(&mut tensors);
            import(&[("config.json", text(&config)), (WEIGHTS, file(&tensors))])
        };
        let up = "model.layers.0.mlp.up_proj.weight";
        for (change, wanted) in [
            (
                &(|tensors: &mut Tensors| drop(tensors.remove(up))) as &dyn Fn(&mut Tensors),
                "has no tensor that the model needs: `model.layers.0.mlp.up_proj",
            ),
            (&|tensors| tensors.get_mut(up).unwrap().1.reverse(), "has the shape [8, 6] for"),
            (&|tensors| tensors.get_mut(up).unwrap().1 = vec![48], "has the shape [48] for"),
            (&|tensors| drop(tensors.insert(up.into(), (Dtype::I8, vec![6, 8], vec![0; 48]))), "as I8; weights can be"),
            (&|tensors| drop(tensors.insert(up.into(), (Dtype::F8_E4M3, vec![6, 8], vec![0; 48]))), "as F8_E4M3; weights can be"),
            (
                &|tensors| drop(tensors.insert("x.bias".into(), tensors[up].clone())),
                "holds tensor for which the model has no place: `x.bias`",
            ),
        ] {
            let (error, field) = changed(change);
            assert!(error.code == Code::E0011 && error.message.contains(wanted), "{error}");
            assert!(field == format!("{WEIGHTS} {up}") || field == format!("{WEIGHTS} x.bias"), "{field}");
        }

        let good = file(&tensors);
        let index = |file: &str| text(&json!({ "weight_map": { up: file } }));
        for (files, code, field) in [
            (vec![], Code::E4002, "toy ".to_owned()),
            (vec![("pytorch_model.bin", vec![])], Code::E4002, "toy ".to_owned()),
            (vec![(INDEX, index("../other.safetensors"))], Code::E0011, format!("{INDEX} {up}")),
            (vec![(INDEX, index("/etc/x.safetensors"))], Code::E0011, format!("{INDEX} {up}")),
            (vec![(INDEX, index("a.safetensors"))], Code::E4002, format!("{INDEX} weight_map")),
            (vec![(INDEX, text(&json!({ "weight_map": {} })))], Code::E0011, format!("{INDEX} weight_map")),
            (vec![(INDEX, b"[".repeat(100_000))], Code::E0011, format!("{INDEX} line 1")),
            (vec![(INDEX, index("a.safetensors")), ("a.safetensors", good.clone())], Code::E0011, "a.safetensors".to_owned()),
        ] {
            let files: Vec<_> = files.into_iter().chain([("config.json", text(&config))]).collect();
            let (error, found) = import(&files);
            assert!(error.code == code && found.starts_with(&field), "{found}: {error}");
        }
        assert!(cache.list().unwrap().is_empty());

        let none = Folder::open(&scratch.0).unwrap_err();
        assert!(none.code == Code::E4002 && none.message.contains("config.json"), "{none}");
        let folder = write(&scratch.0.join("toy"), &[("config.json", b"[".repeat(100_000))]);
        assert_eq!(folder.spec().unwrap_err().code, Code::E0011);
        let folder = write(&scratch.0.join("toy"), &[("config.json", vec![b' '; CONFIG_LIMIT as usize + 1])]);
        assert_eq!(folder.spec().unwrap_err().code, Code::E0010);
    }

    #[test]
    fn damaged_files_end_in_diagnostics() {
        let scratch = Scratch::new("folder-damaged");
        let (config, tensors) = toy(true);
        let config = config.to_string().into_bytes();
        let good = file(&tensors);
        let path = scratch.0.join("toy");
        let open = |config: &[u8], weights: &[u8]| {
            let folder = write(&path, &[("config.json", config.to_vec()), (WEIGHTS, weights.to_vec())]);
            let spec = folder.spec()?;
            let checkpoint = Checkpoint::open(&folder)?;
            let plan = convert::plan(&spec, &checkpoint)?;
            convert::write_weights(&plan, &mut std::io::sink(), &mut |_| {}).unwrap();
            Ok::<(), Diagnostic>(())
        };
        open(&config, &good).unwrap();
        let header = 8 + good[0] as usize + 256 * good[1] as usize;
        for length in (0..good.len()).step_by(11).chain(header - 2..header + 2) {
            assert_eq!(open(&config, &good[..length]).unwrap_err().code, Code::E0011, "{length}");
        }
        for length in (0..config.len()).step_by(5) {
            assert_eq!(open(&config[..length], &good).unwrap_err().code, Code::E0011, "{length}");
        }
        // Any value will do for the weights behind the header.
        for (at, flip) in (0..header).step_by(3).zip([0x01, 0x04, 0x80].into_iter().cycle()) {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            let _ = open(&config, &bytes);
        }
        for (at, flip) in (0..config.len()).zip([0x01, 0x08, 0x80].into_iter().cycle()) {
            let mut bytes = config.clone();
            bytes[at] ^= flip;
            let folder = write(&path, &[("config.json", bytes)]);
            let _ = folder.spec();
        }
        // Headers that lie: a length beyond the file, offsets that overlap or run past the end, sizes that overflow.
        let lie = |header: &str| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 64]].concat();
        for bytes in [
            u64::MAX.to_le_bytes().to_vec(),
            [&(1u64 << 40).to_le_bytes()[..], b"{}"].concat(),
            lie(r#"{"a":{"dtype":"F32","shape":[8],"data_offsets":[0,32]},"b":{"dtype":"F32","shape":[8],"data_offsets":[16,48]}}"#),
            lie(r#"{"a":{"dtype":"F32","shape":[16],"data_offsets":[0,6400]}}"#),
            lie(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,64]}}"#),
            lie(r#"{"a":{"dtype":"F32","shape":[16],"data_offsets":[64,0]}}"#),
            lie(r#"{"a":{"dtype":"F99","shape":[16],"data_offsets":[0,64]}}"#),
            lie(&format!("{{\"a\":{}", "[".repeat(100_000))),
        ] {
            assert_eq!(open(&config, &bytes).unwrap_err().code, Code::E0011);
        }
    }
}
