//! SmolLM2 against Hugging Face transformers: every kind of reference answer of a single forward pass, in one session.
//!
//! The repository keeps a part of the answers; where the whole file is at hand (`../shared/models`, or `$IRC_GOLDENS`), all
//! of it is used. The model is fetched through pip; without a network the tests say loudly that they were skipped.
//!
//! Tolerances, per position: relative L2 distance at most 1e-4; |difference| <= 1e-3 |x| + 1e-3 median|x| for 99.9 % of the
//! elements; KL divergence of the softmax of logits at most 1e-6. The residuals have outliers (layer 15: largest 24,563,
//! median 2.4), so a tolerance relative to the largest value would prove nothing. Integers are equal.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::OnceLock};

use irc::{
    backends::{Backend, execute::Driven, reference::Reference, rten::Rten},
    prelude::*,
};

const PROMPTS: [(&str, &str); 4] = [
    ("eiffel", "The Eiffel Tower is in the city of"),
    ("buckingham", "Buckingham Palace is in the city of"),
    ("unicode", "Le café coûte 3,50 € — déjà 日本語 🙂"),
    ("long", LONG),
];
const LONG: &str = "In a press release, the company said on Tuesday that it had completed the first stage of its plan to build a new \
    research center in the north of the country, and that the work would go on for at least three more years. In a press release, \
    the company said on Tuesday that it had completed the first stage of its plan to build a new research center in the north of the \
    country, and that the work would go on for at least three more years. ";
const LAYERS: usize = 30;

/// SmolLM2, fetched once; none without a network.
fn model() -> Option<&'static Model> {
    static MODEL: OnceLock<Option<Model>> = OnceLock::new();
    let fetched = || Model::fetch("smollm2", &mut |_| {}).map_err(|error| eprintln!("SKIPPED: SmolLM2 is not here: {error}")).ok();
    MODEL.get_or_init(fetched).as_ref()
}

fn engine() -> &'static Driven {
    static ENGINE: OnceLock<Driven> = OnceLock::new();
    ENGINE.get_or_init(|| Driven::new(Rten::new(None)))
}

/// The reference answers, by name.
fn goldens() -> BTreeMap<String, Tensor> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let whole = [std::env::var_os("IRC_GOLDENS").map(PathBuf::from), Some(root.join("../shared/models/goldens.safetensors"))];
    let path = whole.into_iter().flatten().find(|path| path.exists()).unwrap_or(root.join("tests/data/goldens.safetensors"));
    let bytes = fs::read(&path).expect("the reference answers are in the repository");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("they are a safetensors file");
    let tensor = |view: safetensors::tensor::TensorView<'_>| {
        let dtype = if view.dtype() == safetensors::Dtype::I64 { DType::I64 } else { DType::F32 };
        Tensor::from_le_bytes(dtype, view.shape(), view.data()).expect("their bytes fit their shapes")
    };
    let all: BTreeMap<String, Tensor> = file.tensors().into_iter().map(|(name, view)| (name, tensor(view))).collect();
    eprintln!("{} reference answers from {}", all.len(), path.display());
    all
}

/// Records everything that the answers are about; each entry is saved under its name.
fn record(session: &Session, wanted: &BTreeMap<String, Tensor>) {
    let wants = |name: &str| wanted.contains_key(name);
    for (prompt, text) in PROMPTS {
        let trace = session.trace(text);
        for name in wanted.keys().filter_map(|name| name.strip_prefix(prompt)?.strip_prefix('/')) {
            let save_as = format!("{prompt}/{name}");
            match name {
                "input_ids" => drop(trace.hook("model.embed_tokens.input").save(save_as)),
                "argmax" => drop(trace.hook("lm_head.output").argmax(-1).save(save_as)),
                "lm_head.output[-1]" => drop(trace.hook("lm_head.output").at((.., -1)).save(save_as)),
                "logit_lens_top1" => {
                    let lens = (0..LAYERS).map(|layer| {
                        let h = trace.hook(format!("model.layers.{layer}.output"));
                        trace.apply("lm_head", trace.apply("model.norm", h)).at(0).argmax(-1)
                    });
                    session.stack(lens.collect::<Vec<_>>(), 0).save(save_as);
                }
                hook => drop(trace.hook(hook).save(save_as)),
            }
        }
    }
    let source = session.trace(PROMPTS[0].1);
    let patched = |from: usize, into: usize| {
        let h = source.hook(format!("model.layers.{from}.output")).at((.., -1));
        let trace = session.trace(PROMPTS[1].1);
        trace.hook(format!("model.layers.{into}.output")).at((.., -1)).set(&h);
        trace.hook("lm_head.output").at((.., -1))
    };
    for (from, into) in [(29, 1), (15, 15), (20, 8)] {
        let name = format!("patch/eiffel.{from}->buckingham.{into}");
        if wants(&name) {
            patched(from, into).save(name);
        }
    }
    if wants("sweep/eiffel->buckingham") {
        let rows: Vec<Value> = (0..LAYERS).map(|layer| patched(layer, layer)).collect();
        session.cat(rows, 0).save("sweep/eiffel->buckingham");
    }
    let trace = session.trace(PROMPTS[1].1);
    trace.hook("model.layers.10.output").add_(session.tensor(wanted["steer/vector"].clone()) * 4.0);
    trace.hook("lm_head.output").at((.., -1)).save("steer/buckingham");
    let trace = session.trace(PROMPTS[1].1);
    trace.hook("model.layers.5.mlp.output").mul_(0.0);
    trace.hook("lm_head.output").at((.., -1)).save("zero_mlp/buckingham");
    let trace = session.trace(PROMPTS[1].1);
    trace.hook("model.layers.12.self_attn.o_proj.input").at((Ellipsis, 192..256)).set(0.0);
    trace.hook("lm_head.output").at((.., -1)).save("zero_head/buckingham");
}

/// How far a tensor is from the reference: the worst position's L2 distance, the share of elements within bounds, and
/// for logits the worst KL divergence.
fn compare(name: &str, got: &Tensor, want: &Tensor) -> Result<String, String> {
    if got.shape() != want.shape() {
        return Err(format!("{name}: shape {:?} instead of {:?}", got.shape(), want.shape()));
    }
    if let (Some(a), Some(b)) = (got.values::<i64>(), want.values::<i64>()) {
        let differ = a.iter().zip(b).filter(|(a, b)| a != b).count();
        return if differ == 0 { Ok(format!("{name}: equal")) } else { Err(format!("{name}: {differ} of {} differ", a.len())) };
    }
    let (Some(a), Some(b)) = (got.values::<f32>(), want.values::<f32>()) else { return Err(format!("{name}: {}", got.dtype())) };
    let width = *want.shape().last().unwrap_or(&1);
    let (mut worst_l2, mut worst_kl, mut outside) = (0f64, 0f64, 0);
    for (a, b) in a.chunks(width).zip(b.chunks(width)) {
        let norm = |row: &mut dyn Iterator<Item = f64>| row.map(|x| x * x).sum::<f64>().sqrt();
        let distance = norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(a - b)));
        worst_l2 = worst_l2.max(distance / norm(&mut b.iter().map(|b| f64::from(*b))).max(1e-30));
        let mut sizes: Vec<f32> = b.iter().map(|b| b.abs()).collect();
        sizes.sort_by(f32::total_cmp);
        let median = sizes[width / 2];
        let within = |a: f32, b: f32| (a - b).abs() <= 1e-3 * b.abs() + 1e-3 * median;
        outside += a.iter().zip(b).filter(|(a, b)| !within(**a, **b)).count();
        if width == 49152 {
            worst_kl = worst_kl.max(kl(b, a));
        }
    }
    let share = outside as f64 / a.len() as f64;
    let line = format!("{name}: L2 {worst_l2:.1e}, outside {share:.1e}, KL {worst_kl:.1e}");
    if worst_l2 <= 1e-4 && share <= 1e-3 && worst_kl <= 1e-6 { Ok(line) } else { Err(line) }
}

/// KL divergence of the softmax of two rows of logits.
fn kl(p: &[f32], q: &[f32]) -> f64 {
    let log_softmax = |row: &[f32]| {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|x| f64::from(x - max).exp()).sum();
        row.iter().map(|x| f64::from(x - max) - sum.ln()).collect::<Vec<f64>>()
    };
    let (p, q) = (log_softmax(p), log_softmax(q));
    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
}

fn check(results: &Results, wanted: &BTreeMap<String, Tensor>) {
    let mut failures = vec![];
    let mut count = 0;
    for (name, value) in results.iter() {
        count += 1;
        match compare(name, value.as_tensor().expect("tensors are saved"), &wanted[name]) {
            Ok(line) => println!("{line}"),
            Err(line) => failures.push(line),
        }
    }
    assert!(failures.is_empty(), "{} of {count} answers are off:\n{}", failures.len(), failures.join("\n"));
    println!("{count} answers agree");
}

#[test]
fn transformers_answers() {
    answers_of(engine());
}

#[test]
#[cfg(feature = "ort")]
fn transformers_answers_on_onnx_runtime() {
    use irc::{
        backends::ort::{Ort, runtime::Runtime},
        ort::Target,
    };
    let found = irc::ort::library_or_setup(Target::Cpu, &mut |_| {});
    let Ok(path) = found.map_err(|error| eprintln!("SKIPPED: ONNX Runtime is not here: {error}")) else { return };
    let runtime = Runtime::load(&path, None).expect("the library loads");
    answers_of(&Driven::new(Ort::new(runtime, None).expect("there are threads")));
}

fn answers_of(backend: &dyn Backend) {
    let Some(model) = model() else { return };
    let wanted: BTreeMap<String, Tensor> = goldens().into_iter().filter(|(name, _)| !name.starts_with("generate")).collect();
    let session = model.session();
    record(&session, &wanted);
    let results = session.run_on(backend, &mut |_| {}).expect("the session runs");
    let asked = wanted.keys().filter(|name| *name != "steer/vector").count();
    assert_eq!(results.iter().count(), asked, "every answer is asked for");
    check(&results, &wanted);
}

#[test]
fn reference_backend_answers() {
    let Some(model) = model() else { return };
    let wanted: BTreeMap<String, Tensor> = goldens().into_iter().filter(|(name, _)| name.starts_with("buckingham/")).collect();
    let session = model.session();
    let trace = session.trace(PROMPTS[1].1);
    for hook in ["model.layers.3.self_attn.output", "model.layers.29.output", "model.norm.output"] {
        trace.hook(hook).save(format!("buckingham/{hook}"));
    }
    trace.hook("lm_head.output").at((.., -1)).save("buckingham/lm_head.output[-1]");
    let results = session.run_on(&Reference as &dyn Backend, &mut |_| {}).expect("the session runs");
    check(&results, &wanted);
}
