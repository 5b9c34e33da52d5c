//! The architectures against Hugging Face transformers: small random models, every module's output.
//!
//! `tests/scripts/record_architectures.py` made the models and recorded them; `tests/scripts/record_nnsight.py` brought what
//! nnsight's client saved. Everything is computed on the engine and on the reference backend.
//!
//! Tolerances, per position: relative L2 distance at most 1e-4; KL divergence of the softmax of logits at most 1e-6. Integers
//! are equal.

#[path = "architectures/configurations.rs"]
mod configurations;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use irc::{
    backends::{Backend, Handle, Handles, Outcome, execute::Driven, reference::Reference, rten::Rten, weights::Weights},
    ir::{
        diagnostic::Span,
        graph::{Effect, EffectKind, Graph, ModelDecl, NodeId},
        infer::Models,
        model::{ModelBuilder, ModelSpec, StageKind},
        op::Op,
        verify::{Verified, verify},
    },
    models::{activation::Activation, architectures},
    prelude::*,
};
use serde_json::Value as Json;

fn data(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder)
}

fn engine() -> &'static Driven {
    static ENGINE: OnceLock<Driven> = OnceLock::new();
    ENGINE.get_or_init(|| Driven::new(Rten::new(Some(2))))
}

/// A recorded model.
struct Recorded {
    name: String,
    handle: Handle,
    prompts: Vec<Vec<i64>>,
    /// Everything else in the file.
    values: BTreeMap<String, Tensor>,
}

fn read(path: &Path) -> (BTreeMap<String, Tensor>, BTreeMap<String, Json>) {
    let bytes = fs::read(path).expect("recordings are in the repository");
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("they are safetensors files");
    let json = |text: &String| serde_json::from_str(text).expect("metadata are JSON");
    let metadata = header.metadata().iter().flatten().map(|(name, text)| (name.clone(), json(text))).collect();
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("they are safetensors files");
    let tensor = |view: safetensors::tensor::TensorView<'_>| {
        let dtype = if view.dtype() == safetensors::Dtype::I64 { DType::I64 } else { DType::F32 };
        Tensor::from_le_bytes(dtype, view.shape(), view.data()).expect("their bytes fit their shapes")
    };
    (file.tensors().into_iter().map(|(name, view)| (name, tensor(view))).collect(), metadata)
}

fn transposed(tensor: &Tensor) -> Tensor {
    let (values, [rows, columns]) = (tensor.values::<f32>().expect("weights are f32"), [tensor.shape()[0], tensor.shape()[1]]);
    Tensor::new([columns, rows], (0..columns * rows).map(|at| values[at % rows * columns + at / rows]).collect())
}

/// The weights of a model from those of its checkpoint: each is used, and each that the model has is there.
fn weights(spec: &ModelSpec, checkpoint: &BTreeMap<String, Tensor>) -> Arc<Weights> {
    let mut used = BTreeSet::new();
    let tensors = spec.weights().iter().map(|decl| {
        let own = decl.name.strip_suffix(".T").unwrap_or(&decl.name);
        let name = decl.copy_of.as_deref().unwrap_or(own);
        used.insert(name.to_owned());
        let stored = checkpoint.get(name).unwrap_or_else(|| panic!("the checkpoint has no `{name}`"));
        (decl.name.clone(), if decl.name.ends_with(".T") { transposed(stored) } else { stored.clone() })
    });
    let weights = Weights::from_tensors(tensors.collect());
    weights.check(spec).expect("weights have the types that the model declares");
    assert_eq!(used, checkpoint.keys().cloned().collect(), "every weight of the checkpoint is used");
    weights
}

fn recorded(path: &Path) -> Recorded {
    let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
    let (mut values, metadata) = read(path);
    let config = metadata["config"].as_object().expect("a configuration");
    let spec = architectures::spec(config).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let rest = values.split_off("weights/");
    let checkpoint = rest.into_iter().map(|(name, tensor)| (name["weights/".len()..].to_owned(), tensor)).collect();
    let weights = weights(&spec, &checkpoint);
    let ids = |json: &Json| json.as_array().expect("ids").iter().map(|id| id.as_i64().expect("an id")).collect();
    let prompts = metadata.get("ids").map_or(vec![], |prompts| prompts.as_array().expect("prompts").iter().map(ids).collect());
    Recorded { name, handle: Handle { spec: Arc::new(spec), weights }, prompts, values }
}

fn all() -> &'static [Recorded] {
    static ALL: OnceLock<Vec<Recorded>> = OnceLock::new();
    ALL.get_or_init(|| {
        let files = fs::read_dir(data("architectures")).expect("recordings are in the repository");
        let mut paths: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
        paths.retain(|path| !path.ends_with("activations.safetensors") && !path.ends_with("rotary.safetensors"));
        paths.sort();
        assert!(paths.len() >= 12, "{paths:?}");
        paths.iter().map(|path| recorded(path)).collect()
    })
}

/// A program that saves hooks of forwards, under `PREFIX/HOOK`.
struct Program<'a> {
    graph: Graph,
    handle: &'a Handle,
}

impl<'a> Program<'a> {
    fn new(handle: &'a Handle) -> Program<'a> {
        let mut graph = Graph::new("test");
        graph.models.push(ModelDecl { name: "m".into(), reference: "m".into(), span: Span::None });
        Program { graph, handle }
    }

    fn forward(&mut self, rows: &[&[i64]]) -> NodeId {
        let ids = Tensor::new([rows.len(), rows[0].len()], rows.concat());
        let ids = self.graph.add(Op::Const { value: (&ids).into() }, [], Span::None);
        self.graph.add(Op::Forward { model: "m".into() }, [ids], Span::None)
    }

    fn read(&mut self, forward: NodeId, hook: &str) -> NodeId {
        self.graph.add(Op::Read { hook: hook.into() }, [forward], Span::None)
    }

    fn save(&mut self, name: String, value: NodeId) {
        self.graph.effects.push(Effect::new(EffectKind::Save { name: name.into() }, [value], Span::None));
    }

    fn save_all<'b>(&mut self, forward: NodeId, prefix: &str, hooks: impl IntoIterator<Item = &'b str>) {
        for hook in hooks {
            let value = self.read(forward, hook);
            self.save(format!("{prefix}/{hook}"), value);
        }
    }

    fn verified(&self) -> Verified {
        let models: Models = [("m".into(), self.handle.spec.clone())].into();
        verify(self.graph.clone(), &models).unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    fn run(&self, backend: &dyn Backend) -> Outcome {
        let handles: Handles = [("m".into(), self.handle.clone())].into();
        backend.run(&self.verified(), &handles, &mut |_| {}).unwrap_or_else(|error| panic!("{error:?}"))
    }
}

fn tensor<'a>(outcome: &'a Outcome, name: &str) -> &'a Tensor {
    outcome.get(name).and_then(HostValue::as_tensor).unwrap_or_else(|| panic!("{name} is saved"))
}

/// Whether rows of the last dimension agree, and for logits what they predict.
fn close(what: &str, got: &Tensor, want: &Tensor, is_logits: bool) {
    let width = want.shape().last().copied().unwrap_or(1).max(1);
    assert_eq!(got.len(), want.len(), "{what}: {} and {}", got.ty(), want.ty());
    assert_eq!(got.shape().last(), want.shape().last(), "{what}");
    assert_eq!(got.dtype(), want.dtype(), "{what}");
    if want.dtype() == DType::I64 {
        assert_eq!(got.values::<i64>(), want.values::<i64>(), "{what}");
        return;
    }
    for (row, (a, b)) in got.to_f64().chunks(width).zip(want.to_f64().chunks(width)).enumerate() {
        let distance = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let norm = b.iter().map(|b| b.powi(2)).sum::<f64>().sqrt();
        assert!(distance <= 1e-4 * norm + 1e-30, "{what}, row {row}: {distance:e} of {norm:e}\n{a:?}\n{b:?}");
        if is_logits {
            let logs = |x: &[f64]| {
                let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum = x.iter().map(|x| (x - most).exp()).sum::<f64>().ln();
                x.iter().map(|x| x - most - sum).collect::<Vec<f64>>()
            };
            let divergence: f64 = logs(b).iter().zip(logs(a)).map(|(b, a)| b.exp() * (b - a)).sum();
            assert!(divergence <= 1e-6, "{what}, row {row}: divergence {divergence:e}");
        }
    }
}

#[test]
fn every_module_gives_what_transformers_has() {
    for model in all() {
        let mut program = Program::new(&model.handle);
        for (at, ids) in model.prompts.iter().enumerate() {
            let forward = program.forward(&[ids]);
            let prefix = format!("{at}/");
            program.save_all(forward, &at.to_string(), model.values.keys().filter_map(|name| name.strip_prefix(&prefix)));
        }
        assert!(program.graph.effects.len() > 60, "{}", model.name);
        for backend in [engine() as &dyn Backend, &Reference] {
            let outcome = program.run(backend);
            for (name, want) in &model.values {
                let is_logits = name.ends_with("lm_head.output") || name.ends_with("embed_out.output");
                close(&format!("{} on {}: {name}", model.name, backend.name()), tensor(&outcome, name), want, is_logits);
            }
        }
        // And the other way: whatever fires has a recording, hooks that have no module in transformers apart.
        let hooks = model.handle.spec.hooks().iter().map(|hook| &*hook.name).filter(|name| name.ends_with(".output"));
        let missing: Vec<&str> = hooks.filter(|hook| !model.values.contains_key(&format!("0/{hook}"))).collect();
        assert!(missing.is_empty(), "{}: {missing:?} are no modules of transformers", model.name);
    }
}

#[test]
fn rows_are_prompts_alone_bit_for_bit() {
    for model in all() {
        let hooks: Vec<&str> = model.handle.spec.hooks().iter().map(|hook| &*hook.name).collect();
        let (long, short) = (model.prompts[0].as_slice(), model.prompts[1].as_slice());
        let turned: Vec<i64> = long.iter().rev().copied().collect();
        let rows = [long, &turned, short];
        let mut together = Program::new(&model.handle);
        let batch = together.forward(&[long, &turned]);
        together.save_all(batch, "batch", hooks.iter().copied());
        let other = together.forward(&[short]);
        together.save_all(other, "2", hooks.iter().copied());
        let together = together.run(engine());
        for (row, ids) in rows.iter().enumerate() {
            let mut alone = Program::new(&model.handle);
            let forward = alone.forward(&[ids]);
            alone.save_all(forward, "alone", hooks.iter().copied());
            let alone = alone.run(engine());
            for hook in &hooks {
                let alone = tensor(&alone, &format!("alone/{hook}"));
                let same = match row {
                    2 => tensor(&together, &format!("2/{hook}")).same_bits(alone),
                    row => tensor(&together, &format!("batch/{hook}")).part(row..row + 1).same_bits(alone),
                };
                assert!(same, "{}: row {row} of {hook}", model.name);
            }
        }
    }
}

/// A module applied to what went into it gives what came out of it.
#[test]
fn modules_are_applied() {
    for model in all() {
        let spec = &model.handle.spec;
        let mut program = Program::new(&model.handle);
        let forward = program.forward(&[&model.prompts[0]]);
        let closed: Vec<_> = spec.modules().filter(|module| module.closed).collect();
        for module in &closed {
            let [input, output] = [module.input, module.output].map(|hook| program.read(forward, &spec.hook_info(hook).name));
            let apply = Op::Apply { model: "m".into(), module: module.path.clone() };
            let applied = program.graph.add(apply, [input], Span::None);
            program.save(format!("{} applied", module.path), applied);
            program.save(module.path.to_string(), output);
        }
        assert_eq!(closed.len(), spec.modules().count(), "{}: every module follows from its input", model.name);
        for backend in [engine() as &dyn Backend, &Reference] {
            let outcome = program.run(backend);
            for module in &closed {
                let [applied, output] =
                    [format!("{} applied", module.path), module.path.to_string()].map(|name| tensor(&outcome, &name).clone());
                close(&format!("{} on {}: {}", model.name, backend.name(), module.path), &applied, &output, false);
            }
        }
    }
}

/// Every hook of every model set to something else: the logits on the engine are those of the reference.
#[test]
fn a_write_at_any_hook_counts() {
    for model in all() {
        let spec = &model.handle.spec;
        let mut program = Program::new(&model.handle);
        let logits = &*spec.hooks().last().expect("models have hooks").name;
        for (id, hook) in spec.hook_ids() {
            let forward = program.forward(&[&model.prompts[0]]);
            let value = program.read(forward, &hook.name);
            let changed = match spec.hook_type(id).dtype {
                // Tokens and positions.
                DType::I64 => {
                    let most = program.graph.add(Op::Const { value: (&Tensor::scalar(3i64)).into() }, [], Span::None);
                    program.graph.add(Op::Minimum {}, [value, most], Span::None)
                }
                // A square: norms undo what is only scaled or moved.
                _ => program.graph.add(Op::Mul {}, [value, value], Span::None),
            };
            let written = program.graph.add(Op::Write { hook: hook.name.clone() }, [forward, changed], Span::None);
            program.save_all(written, &hook.name, [logits]);
        }
        let [got, want] = [program.run(engine()), program.run(&Reference)];
        let plain = &model.values[&format!("0/{logits}")];
        for hook in spec.hooks() {
            let name = format!("{}/{logits}", hook.name);
            close(&format!("{}: {name}", model.name), tensor(&got, &name), tensor(&want, &name), true);
            let same = tensor(&got, &name).to_f64().iter().zip(plain.to_f64()).all(|(a, b)| (a - b).abs() < 1e-3);
            assert!(!same, "{}: {} set to its square changes nothing", model.name, hook.name);
        }
    }
}

#[test]
fn plain_programs_give_what_nnsight_saved() {
    let check = |name: &str, program: &str, hooks: &[(&str, &str)]| {
        let model = recorded(&data("nnsight").join(name).with_extension("safetensors"));
        let value = |value: &str| &model.values[&format!("{program}/{value}")];
        let ids = value("prompt").values::<i64>().expect("ids").to_vec();
        let mut graph = Program::new(&model.handle);
        let forward = graph.forward(&[&ids]);
        for (saved, hook) in hooks {
            let read = graph.read(forward, hook);
            // The logit lens: the head's module on any layer.
            let result = match saved.starts_with('l') && program == "10_logit_lens" {
                false => read,
                true => ["model.norm", "lm_head"]
                    .into_iter()
                    .fold(read, |x, module| graph.graph.add(Op::Apply { model: "m".into(), module: module.into() }, [x], Span::None)),
            };
            let result = match program {
                "10_logit_lens" => graph.graph.add(Op::Argmax { dim: Some(-1), keepdim: false }, [result], Span::None),
                _ => result,
            };
            graph.save((*saved).to_owned(), result);
        }
        for backend in [engine() as &dyn Backend, &Reference] {
            let outcome = graph.run(backend);
            for (saved, _) in hooks {
                close(&format!("{program} on {}: {saved}", backend.name()), tensor(&outcome, saved), value(saved), *saved == "logits");
            }
        }
    };
    check("tiny-gpt2", "01_save_hidden", &[("hs", "transformer.h.0.output"), ("logits", "lm_head.output")]);
    let parts = [("attn", "attn.output"), ("mlp", "mlp.output"), ("act", "mlp.act.output")];
    let parts = parts.map(|(saved, hook)| (saved, format!("transformer.h.1.{hook}")));
    let mut parts: Vec<(&str, &str)> = parts.iter().map(|(saved, hook)| (*saved, hook.as_str())).collect();
    parts.push(("ln", "transformer.ln_f.output"));
    check("tiny-gpt2", "04_attn_mlp_outputs", &parts);
    let inputs = [("x", "model.layers.1.input"), ("y", "model.layers.1.mlp.down_proj.input"), ("ids", "model.embed_tokens.input")];
    check("tiny-llama", "05_inputs", &inputs);
    let layers: Vec<(String, String)> = (0..4).map(|layer| (format!("l{layer}"), format!("model.layers.{layer}.output"))).collect();
    let layers: Vec<(&str, &str)> = layers.iter().map(|(saved, hook)| (saved.as_str(), hook.as_str())).collect();
    check("tiny-llama", "10_logit_lens", &layers);
}

/// Frequencies of models of the usual sizes, which small ones say little of: to the last bits of f32, which libraries differ in.
#[test]
fn rotary_frequencies_are_those_of_transformers() {
    let (values, metadata) = read(&data("architectures").join("rotary.safetensors"));
    for (name, want) in &values {
        let spec = architectures::spec(metadata["configs"][name].as_object().expect("a configuration")).expect(name);
        let rotary = spec.stages().iter().find_map(|stage| match &stage.kind {
            StageKind::Attention(attention) => attention.shape.rotary.clone(),
            StageKind::Positionwise => None,
        });
        let rotary = rotary.unwrap_or_else(|| panic!("{name} turns"));
        let got: Vec<f32> = rotary.inverse_frequencies.iter().copied().chain([rotary.scale]).collect();
        let want = want.values::<f32>().expect("numbers");
        assert_eq!(got.len(), want.len(), "{name}");
        for (at, (got, want)) in got.iter().zip(want).enumerate() {
            assert!((got - want).abs() <= 4.0 * f32::EPSILON * want, "{name}, {at}: {got:e} for {want:e}");
        }
    }
    assert_eq!(values.len(), 9);
}

/// Every activation that configurations may name, on the engine and the reference.
#[test]
fn activations_are_those_of_transformers() {
    let (values, _) = read(&data("architectures").join("activations.safetensors"));
    let x = &values["x"];
    let mut supported = 0;
    for (name, want) in values.iter().filter_map(|(name, value)| Some((name.strip_prefix("y/")?, value))) {
        let Some(activation) = Activation::named(name) else { continue };
        supported += 1;
        // The values come in as the embedding of one token.
        let mut m = ModelBuilder::new("activation", DType::F32, 1, 1);
        let tokens = m.tokens();
        let embedded = m.embedding("x", tokens, 1, x.len());
        let y = m.module("act", embedded, |m, x| activation.apply(m, x));
        let spec = m.finish(y).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let weights = Weights::from_tensors([("x".into(), x.reshaped([1, x.len()]))].into());
        let handle = Handle { spec: Arc::new(spec), weights };
        let mut program = Program::new(&handle);
        let forward = program.forward(&[&[0]]);
        let value = program.read(forward, "act.output");
        program.save("y".to_owned(), value);
        for backend in [engine() as &dyn Backend, &Reference] {
            let got = tensor(&program.run(backend), "y").to_f64();
            for ((x, got), want) in x.to_f64().iter().zip(got).zip(want.to_f64()) {
                // Where 1 + erf and 1 + tanh cancel, the error is that of 1.
                assert!(
                    (got - want).abs() <= 2e-6 * want.abs().max(x.abs()).max(1e-3),
                    "{name}({x}) on {}: {got} for {want}",
                    backend.name()
                );
            }
        }
    }
    assert_eq!(supported, 16);
}
