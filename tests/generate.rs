//! Generation against Hugging Face's `generate`, token for token and step by step, on the tiny models and on SmolLM2; and how it ends.
//!
//! `tests/scripts/record_generate.py` records what is compared with. Hidden states agree to 1e-4 of the length of a row.

use std::{collections::BTreeMap, fs, path::PathBuf};

use irc::{
    backends::{Backend, Event, execute::Driven, host::Functions, reference::Reference, rten::Rten},
    generate::{End, Generation},
    ir::{eval::eval, op::Op},
    prelude::*,
};

fn data(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}

fn recorded(name: &str) -> BTreeMap<String, Tensor> {
    let bytes = fs::read(data(&format!("generate/{name}.safetensors"))).expect("the recordings are in the repository");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("they are safetensors");
    let tensor = |view: safetensors::tensor::TensorView<'_>| {
        let dtype = if view.dtype() == safetensors::Dtype::I64 { DType::I64 } else { DType::F32 };
        Tensor::from_le_bytes(dtype, view.shape(), view.data()).expect("their bytes fit their shapes")
    };
    file.tensors().into_iter().map(|(name, view)| (name, tensor(view))).collect()
}

fn tiny(name: &str) -> Model {
    Model::open(data(name).to_str().expect("a path of UTF-8")).expect("the model is in the repository")
}

fn run(session: &Session) -> Results {
    session.run_on(backend(), &mut |_| {}).unwrap_or_else(|error| panic!("{error}"))
}

/// What the tests run on: rten.
fn backend() -> &'static dyn Backend {
    static ENGINE: std::sync::OnceLock<Driven> = std::sync::OnceLock::new();
    ENGINE.get_or_init(|| Driven::new(Rten::new(None)))
}

fn ints(tensor: &Tensor) -> Vec<i64> {
    tensor.values::<i64>().expect("token ids").to_vec()
}

fn close(name: &str, got: &Tensor, want: &Tensor) {
    assert_eq!(got.shape(), want.shape(), "{name}");
    let width = *want.shape().last().expect("a dimension");
    for (got, want) in got.to_f64().chunks(width).zip(want.to_f64().chunks(width)) {
        let norm = |row: &mut dyn Iterator<Item = f64>| row.map(|x| x * x).sum::<f64>().sqrt();
        let (far, size) = (norm(&mut got.iter().zip(want).map(|(a, b)| a - b)), norm(&mut want.iter().copied()));
        assert!(far <= 1e-4 * size, "{name}: {far:.1e} of {size:.1e}");
    }
}

/// Opens what a program of the recordings does.
fn program(session: &Session, name: &str, layer: &str, recordings: &BTreeMap<String, Tensor>) -> Generation {
    let ids = recordings[&format!("{name}/ids")].clone();
    let config = GenerationConfig::new().max_new_tokens(8).eos([]).named(name);
    let generation = match name {
        "penalty" => session.generate(ids, config.repetition_penalty(1.3)),
        "ends" => session.generate(ids, config.eos(ints(&recordings["min/eos"]))),
        "min" => session.generate(ids, config.eos(ints(&recordings["min/eos"])).min_new_tokens(5)),
        _ => session.generate(ids, config),
    };
    match name {
        "scaled" => generation.all().hook(layer).mul_(0.5),
        "once" => generation.step(2).hook(layer).add_(3.0),
        "first" => generation.step(0).hook(layer).at((.., 1)).add_(3.0),
        _ => {}
    }
    generation
}

/// What can compute here, by name.
fn backends() -> Vec<(&'static str, Box<dyn Backend>)> {
    let mut all: Vec<(&str, Box<dyn Backend>)> = vec![("reference", Box::new(Reference)), ("rten", Box::new(Driven::new(Rten::new(None))))];
    #[cfg(feature = "ort")]
    match irc::ort::library_or_setup(irc::ort::Target::Cpu, &mut |_| {}) {
        Ok(library) => {
            use irc::backends::ort::{Device, Precision};
            let ort = irc::ort::backend(&library, None, Device::Cpu, Precision::F32, false).unwrap_or_else(|error| panic!("{error}"));
            all.push(("ort", ort));
        }
        Err(error) => eprintln!("SKIPPED: ONNX Runtime is not here: {error}"),
    }
    all
}

/// Tokens and hidden states of each step, with interventions in all, in one and at a position of the first: as transformers, with
/// keys and values kept, has them.
#[test]
fn steps_are_those_of_transformers() {
    for (name, layers) in [("tiny-llama", "model.layers"), ("tiny-gpt2", "transformer.h")] {
        let (model, recordings) = (tiny(name), recorded(name));
        let session = model.session();
        let programs = ["plain", "scaled", "once", "first", "penalty", "ends", "min"];
        for of in programs {
            let generation = program(&session, of, &format!("{layers}.1.output"), &recordings);
            for key in recordings.keys().filter(|key| key.starts_with(&format!("{of}/"))) {
                let [_, hook, step] = key.split('/').collect::<Vec<_>>()[..] else { continue };
                generation.step(step.parse().expect("a step")).hook(hook).save(key);
            }
        }
        for (engine, backend) in backends() {
            let results = session.run_on(&*backend, &mut |_| {}).unwrap_or_else(|error| panic!("{engine}: {error}"));
            let mut compared = 0;
            for (key, want) in &recordings {
                match key.split('/').collect::<Vec<_>>()[..] {
                    [of, "tokens"] => assert_eq!(results.ints(of).unwrap(), ints(want), "{engine}, {name}: {of}"),
                    [_, _, _] => {
                        close(key, results.tensor(key).unwrap(), want);
                        compared += 1;
                    }
                    _ => {}
                }
            }
            assert_eq!(compared, 4 * 8 * 6, "{name}");
            assert_eq!(results.generated("ends").unwrap().end, End::EndOfText);
            assert_eq!(results.generated("plain").unwrap().end, End::MaxNewTokens);
        }
    }
}

/// SmolLM2 goes on as transformers does, token for token, by itself and with a vector added to a layer in every step; what is streamed
/// is what comes out.
#[test]
fn smollm2_goes_on_as_in_transformers() {
    let model = match Model::fetch("smollm2", &mut |_| {}) {
        Ok(model) => model,
        Err(error) => return eprintln!("SKIPPED: SmolLM2 is not here: {error}"),
    };
    let wanted = recorded("smollm2");
    for (engine, backend) in backends().into_iter().filter(|(engine, _)| *engine != "reference") {
        let session = model.session();
        let prompts = ["The Eiffel Tower is in the city of", "Buckingham Palace is in the city of"];
        session.generate(prompts[0], 50).tokens().save("generate/eiffel");
        let plain = session.generate(prompts[1], 50);
        plain.tokens().save("generate/buckingham");
        plain.all().token().log("token");
        let steered = session.generate(prompts[1], 30);
        steered.all().hook("model.layers.10.output").add_(session.linspace(-1.0, 1.0, 576) * 4.0);
        steered.tokens().save("generate_steered/buckingham");
        let mut streamed = vec![];
        let mut on_event = |event: Event| match event {
            Event::Log { value, .. } => streamed.extend(value.as_tensor().map(ints).unwrap_or_default()),
            Event::Save { .. } => {}
        };
        let results = session.run_on(&*backend, &mut on_event).unwrap_or_else(|error| panic!("{engine}: {error}"));
        for (name, want) in &wanted {
            assert_eq!(results.ints(name).unwrap(), ints(want), "{engine}: {name}: {}", model.decode(results.ints(name).unwrap()));
        }
        assert_eq!(results.ints(plain.name()).unwrap(), streamed, "{engine}");
    }
}

/// What is left of the logits of real steps is what Hugging Face's processors leave, with the same probabilities: of draws at
/// evenly spaced fractions, each token comes up as often as it should.
#[test]
fn filters_are_those_of_transformers() {
    let recordings = recorded("filters");
    let bytes = fs::read(data("generate/filters.safetensors")).expect("the recordings are in the repository");
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).expect("they are safetensors");
    let settings = metadata.metadata().as_ref().expect("the settings are there")["settings"].clone();
    let settings: Vec<serde_json::Value> = serde_json::from_str(&settings).expect("they are JSON");
    let logits = &recordings["logits"];
    let (rows, tokens) = (logits.shape()[0], logits.shape()[1]);
    for (at, setting) in settings.iter().enumerate() {
        let number = |field: &str, default: f64| irc::ir::attr::Float::new(setting[field].as_f64().unwrap_or(default));
        let op = |seed: i64| Op::Sample {
            seed,
            temperature: number("temperature", 1.0),
            top_k: setting["top_k"].as_i64(),
            top_p: number("top_p", 1.0),
            min_p: number("min_p", 0.0),
        };
        const DRAWS: usize = 4000;
        let want = &recordings[&at.to_string()].to_f64();
        for row in 0..rows {
            let of_row = logits.part(row..row + 1).reshaped([tokens]);
            let many = eval(&Op::Expand { shape: vec![DRAWS.into(), tokens.into()] }, &[&of_row.into()]).expect("it is repeated");
            let drawn = eval(&op(at as i64), &[&many]).expect("it draws");
            let mut counts = vec![0usize; tokens];
            ints(drawn.as_tensor().expect("indices")).iter().for_each(|token| counts[*token as usize] += 1);
            let want = &want[row * tokens..(row + 1) * tokens];
            for (token, (count, share)) in counts.iter().zip(want).enumerate() {
                let expected = DRAWS as f64 * share;
                // Six standard errors, which none of some 20,000 passes by chance; and never what was left out.
                let bound = 6.0 * (expected * (1.0 - share)).sqrt() + 1.0;
                assert!(*share > 0.0 || *count == 0, "{setting}: token {token} of row {row} was left out");
                assert!((*count as f64 - expected).abs() <= bound, "{setting}: token {token} of row {row}: {count}, not {expected:.1}");
            }
        }
    }
}

#[test]
fn generations_end() {
    let (model, recordings) = (tiny("tiny-llama"), recorded("tiny-llama"));
    let (ids, plain) = (recordings["plain/ids"].clone(), ints(&recordings["plain/tokens"]));
    let session = model.session();
    let config = |name: &str| GenerationConfig::new().max_new_tokens(5).named(name);
    let at_once = session.generate(ids.clone(), config("at once").eos([plain[0]]));
    at_once.step(0).hook("model.layers.2.output").save("reached");
    at_once.step(1).hook("model.layers.2.output").save("unreached");
    at_once.all().number().save("steps");
    at_once.steps(1..).number().save("no steps");
    at_once.tokens().save("at once, with its prompt");
    let last = session.generate(ids.clone(), config("last").eos([7, plain[2]]).max_new_tokens(3));
    last.step(9).hook("lm_head.output").save("too late");
    session.generate(ids.clone(), config("never").eos([]));
    let none = session.generate(ids.clone(), config("none").max_new_tokens(0));
    none.all().hook("lm_head.output").argmax(-1).save("nothing");
    none.step(0).hook("lm_head.output").save("not even the first");
    none.tokens().save("the prompt");
    let one = session.generate(ids.clone(), config("one").max_new_tokens(1));
    one.all().token().save("one token");

    let results = run(&session);
    let ended = |name: &str| results.generated(name).map(|of| (of.tokens, of.end)).unwrap();
    assert_eq!(ended("at once"), (plain[..1].to_vec(), End::EndOfText));
    assert_eq!(ended("last"), (plain[..3].to_vec(), End::EndOfText));
    assert_eq!(ended("never"), (plain[..5].to_vec(), End::MaxNewTokens));
    assert_eq!(ended("none"), (vec![], End::MaxNewTokens));
    assert_eq!(ended("one"), (plain[..1].to_vec(), End::MaxNewTokens));
    assert_eq!(results.ints("the prompt").unwrap(), ints(&ids));
    assert_eq!(results.ints("at once, with its prompt").unwrap(), [ints(&ids), plain[..1].to_vec()].concat());
    assert_eq!(results.tensor("reached").unwrap().shape(), [1, 6, 32]);
    let list = |name: &str| results.get(name).unwrap().as_list().map(<[_]>::len);
    assert_eq!([list("steps"), list("no steps"), list("nothing"), list("one token")], [Some(1), Some(0), Some(0), Some(1)]);
    let why = |name: &str| results.get(name).unwrap_err().notes.join("");
    assert_eq!(why("unreached"), "it is of step 1 of \"at once\", which ended at step 0: end of text");
    assert_eq!(why("too late"), "it is of step 9 of \"last\", which ended at step 2: end of text");
    assert_eq!(why("not even the first"), "it is of step 0 of \"none\", which has no steps");
}

/// A context of 128: a generation ends where it does; a prompt that does not fit is an error before anything runs.
#[test]
fn contexts_are_finite() {
    let model = tiny("tiny-llama");
    let session = model.session();
    let prompt: Vec<i64> = (0..126).collect();
    session.generate(prompt, GenerationConfig::new().max_new_tokens(10).eos([]));
    let results = run(&session);
    let generated = results.generated("generation").unwrap();
    assert_eq!((generated.tokens.len(), generated.end), (3, End::Context));
    let session = model.session();
    session.generate((0..129).collect::<Vec<i64>>(), 1);
    let error = session.run_on(backend(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("129 tokens are more than the model's context of 128"), "{error}");
}

/// Values over steps, variables and functions: what is streamed is what is saved, in its order.
#[test]
fn steps_stream_what_they_save() {
    let (model, recordings) = (tiny("tiny-llama"), recorded("tiny-llama"));
    let session = model.session();
    let generation = session.generate(recordings["plain/ids"].clone(), GenerationConfig::new().max_new_tokens(6).eos([]));
    let all = generation.all();
    all.log("step");
    all.hook("model.layers.0.output").at((.., -1)).sum([-1]).save("sums").log("sum");
    all.token().save("tokens").log("token");
    generation.iter(2..4).token().log("middle");
    let sum = generation.variable(0i64);
    sum.set(&sum + all.token().at((0, 0)));
    generation.last(&sum).save("sum of tokens");
    let odd = generation.variable(session.list_of(irc::ir::types::Type::tensor(DType::I64, [])));
    odd.set(odd.append(generation.steps(3..).number()));
    generation.last(&odd).save("late");
    session.log("after");
    let first = generation.step(0).hook("model.layers.1.output").at((.., -1)).clone();
    let again = session.trace(recordings["plain/ids"].clone());
    (again.hook("model.layers.1.output").at((.., -1)) - &first).abs().max(..).save("the same in a trace");
    (again.hook("lm_head.output").at((.., -1)).argmax(-1) - generation.step(4).token().at(0)).save("of a later step");

    let mut events = vec![];
    let results = session.run_on(backend(), &mut |event| events.push(event)).unwrap_or_else(|error| panic!("{error}"));
    let labels: Vec<&str> =
        events.iter().map(|event| event.label().map(|label| &**label).or(event.value().as_str()).unwrap_or_default()).collect();
    let step = ["step", "sum", "token"];
    let expected = [&step[..], &step, &step, &["middle"], &step, &["middle"], &step, &step, &["after"]].concat();
    assert_eq!(labels, expected);
    let streamed = |wanted: &str| {
        let of = |event: &Event| matches!(event, Event::Log { label: Some(label), .. } if **label == *wanted);
        events.iter().filter(|event| of(event)).map(|event| event.value().clone()).collect::<Vec<_>>()
    };
    for name in ["tokens", "sums"] {
        let saved = results.get(name).unwrap().as_list().unwrap();
        let streamed = streamed(name.trim_end_matches('s'));
        assert!(saved.len() == 6 && saved.iter().zip(&streamed).all(|(a, b)| a.same_bits(b)), "{name}");
    }
    let plain = ints(&recordings["plain/tokens"]);
    assert_eq!(results.ints("sum of tokens").unwrap(), [plain[..6].iter().sum::<i64>()]);
    assert_eq!(results.get("late").unwrap().as_list().unwrap().len(), 3);
    assert_eq!(results.floats("the same in a trace").unwrap(), [0.0]);
    assert_eq!(results.ints("of a later step").unwrap(), [plain[0] - plain[4]]);
}

/// A batch is each prompt alone, sampled or not; and equal seeds draw equal tokens.
#[test]
fn batches_are_their_prompts_alone() {
    let model = tiny("tiny-llama");
    let prompts: [&[i64]; 3] = [&[5, 17, 200, 42, 9, 300], &[7, 8], &[5, 17, 200, 42, 9, 300]];
    for config in [GenerationConfig::new().greedy(), GenerationConfig::new().temperature(1.5).top_p(0.9).seed(11)] {
        let config = config.max_new_tokens(6).eos([]);
        let session = model.session();
        for generation in session.generate_batch(prompts, config.clone()) {
            generation.all().hook("model.layers.3.output").save(format!("{}, h", generation.name()));
        }
        let together = run(&session);
        let names = ["generation", "generation 2", "generation 3"];
        for (name, prompt) in names.iter().zip(prompts) {
            let session = model.session();
            session.generate(prompt, config.clone()).all().hook("model.layers.3.output").save("h");
            let alone = run(&session);
            assert_eq!(together.ints(name).unwrap(), alone.ints("generation").unwrap());
            assert!(together.get(&format!("{name}, h")).unwrap().same_bits(alone.get("h").unwrap()));
        }
        assert_eq!(together.ints(names[0]).unwrap(), together.ints(names[2]).unwrap());
    }
    let drawn = |seed: i64| {
        let session = model.session();
        session.generate(prompts[0], GenerationConfig::new().max_new_tokens(12).temperature(2.0).top_k(0).seed(seed).eos([]));
        run(&session).ints("generation").unwrap().to_vec()
    };
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
}

/// A text that spans tokens ends a generation with the token that completes it.
#[test]
fn texts_end_generations() {
    let model = Model::open("induction").expect("it is built in");
    let prompt = "<s> Eiffel Paris Buckingham London Prado Madrid Eiffel";
    let session = model.session();
    session.generate(prompt, GenerationConfig::new().max_new_tokens(6).stop(["n Pra", "London Prado"]));
    session.generate(prompt, GenerationConfig::new().max_new_tokens(2).stop(["London"]));
    let results = run(&session);
    let generated = results.generated("generation").unwrap();
    assert_eq!((model.decode(&generated.tokens).as_str(), generated.end), ("Paris Buckingham London Prado", End::StopText));
    assert_eq!(results.generated("generation 2").unwrap().end, End::MaxNewTokens);
}

/// What is wrong, and what makes it so.
type Mistake<'a> = (&'a str, &'a dyn Fn(&Session, &Generation));

/// What cannot be is said where it was written.
#[test]
fn mistakes_are_said() {
    let model = tiny("tiny-llama");
    let error = |write: &dyn Fn(&Session, &Generation)| {
        let session = model.session();
        let generation = session.generate([5i64, 17, 200], 4);
        write(&session, &generation);
        let found = session.run_on(backend(), &mut |_| {}).expect_err("it is a mistake");
        let place = found.0[0].labels.first().map(|label| format!("{:?}", label.span)).unwrap_or_default();
        assert!(place.contains("tests/generate.rs"), "{place}: {found}");
        (found.0[0].code.name().to_owned(), found.0[0].message.clone())
    };
    let hook = |step: irc::generate::Step| step.hook("model.layers.1.output").at((.., -1));
    let cases: [Mistake<'_>; 6] = [
        ("E3003", &|_, g| hook(g.step(1)).set(hook(g.step(2)))),
        ("E3003", &|s, g| s.trace([1i64]).hook("model.layers.1.output").set(hook(g.all()))),
        ("E3003", &|_, g| hook(g.all()).set(g.tokens().sum(..))),
        ("E2007", &|_, g| hook(g.all()).set(g.all().token())),
        ("E2001", &|_, g| drop(g.all().hook("model.layer.1.output"))),
        ("E1008", &|_, g| drop(g.steps(3..3))),
    ];
    for (code, write) in cases {
        let (found, message) = error(write);
        assert_eq!(found, code, "{message}");
    }
    let session = model.session();
    session.generate(vec![vec![1i64, 2], vec![3, 4]], 4);
    assert!(session.program().unwrap_err().to_string().contains("one row of tokens, not from 2"));
}

/// A run can be stopped from within a step, and from outside.
#[test]
fn steps_stop_programs() {
    let model = tiny("tiny-llama");
    let session = model.session();
    let generation = session.generate([5i64, 17, 200], GenerationConfig::new().max_new_tokens(6).eos([]));
    let all = generation.all();
    all.number().log("step");
    session.when(all.number().eq(2), || session.stop("enough"));
    generation.step(1).token().save("second");
    generation.step(5).token().save("sixth");
    let mut steps = 0;
    let mut host = Functions::new(|event| steps += usize::from(matches!(event, Event::Log { .. })));
    let results = session.run_for(backend(), &mut host).unwrap_or_else(|error| panic!("{error}"));
    drop(host);
    assert_eq!((steps, results.stopped().and_then(|stopped| stopped.reason.as_deref())), (3, Some("enough")));
    assert!(results.get("second").is_ok());
    assert!(results.get("sixth").unwrap_err().notes[0].contains("stopped itself"));
}

/// A program's writes are made in every step, as if they had been recorded there; what cannot be is refused where it stands.
#[test]
fn programs_are_interventions() {
    let (model, recordings) = (tiny("tiny-llama"), recorded("tiny-llama"));
    let program = |body: &str| {
        let text = format!("graph @i models {{ any: \"tiny\" }} {{\n{body}\n}}");
        irc::ir::text::parse(&text).into_result().unwrap_or_else(|error| panic!("{error}"))
    };
    let session = model.session();
    let config = GenerationConfig::new().max_new_tokens(8).eos([]);
    let scaled = session.generate(recordings["scaled/ids"].clone(), config.clone());
    let halved = program(
        r#"  %f = forward([[1]]) {model: any}
  %h = read(%f) {hook: "model.layers.1.output"}
  %w = write(%f, mul(%h, 0.25)) {hook: "model.layers.1.output"}
  %x = write(%w, mul(read(%w) {hook: "model.layers.1.output"}, 2.0)) {hook: "model.layers.1.output"}
  save %h as "left aside""#,
    );
    scaled.all().intervene(&halved).unwrap_or_else(|error| panic!("{error}"));
    for step in 0..8 {
        scaled.step(step).hook("lm_head.output").save(format!("scaled/lm_head.output/{step}"));
    }
    let results = run(&session);
    assert_eq!(results.ints(scaled.name()).unwrap(), ints(&recordings["scaled/tokens"]));
    for step in 0..8 {
        let name = format!("scaled/lm_head.output/{step}");
        close(&name, results.tensor(&name).unwrap(), &recordings[&name]);
    }

    let write = r#"%w = write(%f, mul(read(%f) {hook: "model.layers.1.output"}, 2.0)) {hook: "model.layers.1.output"}"#;
    let cases = [
        ("E3010", "second forward", format!("%f = forward([[1]]) {{model: any}}\n{write}\n%g = forward([[1]]) {{model: any}}")),
        ("E3010", "`extend`", format!("%f = forward([[1]]) {{model: any}}\n{write}\n%g = extend(%w, [[1]])")),
        (
            "E3010",
            "without a write",
            format!(
                "%f = forward([[1]]) {{model: any}}\n{write}\n\
                 %x = write(%w, read(%f) {{hook: \"model.layers.2.output\"}}) {{hook: \"model.layers.2.output\"}}"
            ),
        ),
        ("E3010", "no hook", "%f = forward([[1]]) {model: any}".to_owned()),
        ("E2001", "no hook `", format!("%f = forward([[1]]) {{model: any}}\n{}", write.replace("layers.1", "layers.9"))),
        ("E3010", "a stop", format!("%f = forward([[1]]) {{model: any}}\n{write}\nstop")),
    ];
    for (code, what, body) in cases {
        let session = model.session();
        let generation = session.generate([1i64, 2], 2);
        let error = generation.all().intervene(&program(&body)).expect_err(what);
        assert!(error.0[0].code.name() == code && error.0[0].message.contains(what), "{what}: {error}");
    }
}
