//! Prompts of different length together, and names of hooks, end to end: on the toy with planted answers, on a small random
//! Llama, and on SmolLM2 where it can be had.

use irc::{
    backends::{execute::Driven, reference::Reference, rten::Rten},
    ir::{
        attr::Literal,
        code::Code,
        diagnostic::{Diagnostics, Source, Span},
        graph::{Body, Effect, EffectKind, Graph, ModelDecl},
        op::Op,
        text::parse,
    },
    models::{BUILT_IN, Model},
    prelude::*,
    run::{self, Side},
};

fn toy() -> Model {
    Model::open(BUILT_IN).expect("it is built in")
}

fn engine() -> Driven {
    Driven::new(Rten::new(Some(2)))
}

const PROMPTS: [&str; 3] =
    ["<s> Eiffel Paris Buckingham London Eiffel", "<s> Prado", "<s> Harry Potter Prado Madrid Acropolis Athens Colosseum Rome Harry"];

/// What a test writes and reads in a trace: everything that a batch can do to a row.
fn write_and_read(trace: &Trace, at: &str, save: &str) {
    trace.hook(format!("model.layers.{at}.output")).at((.., -1)).mul_(0.5);
    trace.hook("model.layers.-1.self_attn.output[0]").add_(0.25);
    for hook in ["model.layers.0.output", "model.layers.-1.output", "blocks.1.attn.hook_pattern", "lm_head.output"] {
        trace.hook(hook).save(format!("{save}/{hook}"));
    }
}

/// Saves of a session with all prompts, and of one session a prompt, are the same bits.
fn rows_are_alone(model: &Model, prompts: &[&str]) {
    let engine = engine();
    let session = model.session();
    let batch = session.batch(prompts.iter().copied());
    for (row, trace) in batch.rows().iter().enumerate() {
        write_and_read(trace, "1", &row.to_string());
    }
    let whole = batch.hook("model.layers[1].output");
    whole.save("whole");
    let together = session.run_on(&engine, &mut |_| {}).expect("the batch runs");
    let mut compared = 0;
    for (row, prompt) in prompts.iter().enumerate() {
        let session = model.session();
        let trace = session.trace(*prompt);
        write_and_read(&trace, "1", &row.to_string());
        trace.hook("model.layers[1].output").save("whole");
        let alone = session.run_on(&engine, &mut |_| {}).expect("the prompt runs");
        for (name, value) in alone.iter() {
            let (one, all) = match name {
                "whole" => (value.as_tensor().unwrap(), together.rows("whole").unwrap()[row]),
                name => (value.as_tensor().unwrap(), together.tensor(name).unwrap()),
            };
            assert!(one.same_bits(all), "{name} of {prompt:?}: {one:?} alone, {all:?} in the batch");
            compared += 1;
        }
    }
    assert_eq!(compared, 5 * prompts.len());
}

#[test]
fn a_row_is_the_prompt_alone() {
    rows_are_alone(&toy(), &PROMPTS);
}

#[test]
fn a_row_of_smollm2_is_the_prompt_alone() {
    match Model::fetch("smollm2", &mut |_| {}) {
        Ok(model) => {
            let prompts = ["The Eiffel Tower is in the city of", "Hi", "Le café coûte 3,50 € — déjà 日本語 🙂", "Buckingham Palace is in"];
            rows_are_alone(&model, &prompts);
            words_of_smollm2(&model);
        }
        Err(error) => eprintln!("SKIPPED: SmolLM2 is not here: {error}"),
    }
}

/// Positions of words: spaces before them, several tokens a word, characters of several bytes and tokens.
fn words_of_smollm2(model: &Model) {
    let session = model.session();
    let text = "The Eiffel Tower, the café and the 🙂 of 日本語.";
    let trace = session.trace(text);
    let ids = model.encode(text).unwrap();
    for (part, covers) in [
        ("The", "The"),
        ("Eiffel", " Eiffel"),
        (" Eiffel Tower", " Eiffel Tower"),
        ("Eiffel ", " Eiffel"),
        ("Tower,", " Tower,"),
        ("café", " café"),
        ("🙂", " 🙂"),
        ("日本語", " 日本語"),
        (".", "."),
    ] {
        let range = trace.tokens_of(part);
        let (start, end) = (range.start as usize, range.end as usize);
        assert_eq!(model.decode(&ids[start..end]), covers, "{part}");
    }
    let the = trace.tokens_of(("the", 1));
    assert_eq!((model.decode(&[ids[the.start as usize]]), the.end - the.start), (" the".to_owned(), 1));
    assert!(trace.position(("the", 0)) < trace.position(("the", -1)));
    session.program().unwrap_or_else(|errors| panic!("{errors}"));
}

#[test]
fn rows_together() {
    let model = toy();
    let session = model.session();
    let mut batch = session.batch([PROMPTS[0]]);
    let b = batch.invoke("<s> Colosseum Rome Prado Madrid Colosseum");
    let c = batch.invoke_batch(["<s> Prado Madrid Prado", "<s> Harry Potter is in Harry"]);
    // A value of an earlier row in a later one, and one for each row.
    b.hook("model.layers.1.output").at((.., -1)).set(batch.rows()[0].hook("model.layers.3.output").at((.., -1)));
    c.hook("model.layers.2.output").at((0, -1)).set(c.hook("model.layers.1.output").at((0, -1)));
    let last = batch.hook("lm_head.output").at((0, -1));
    last.stack(0).argmax(-1).save("answers");
    let both = &last * 2.0 + &last;
    both.cat(0).save("cat");
    last.cat(0).save("once");
    let h = batch.hook("model.embed_tokens.input");
    h.save("ids");
    for (name, rows) in c.hooks("model.layers.{2..3}.output") {
        rows.at((0, -1)).stack(0).save(name);
    }
    batch.apply("unembed", &batch.hook("model.layers.3.output")).at((0, -1)).stack(0).argmax(-1).save("lens");
    let firsts = batch.hook("model.embed_tokens.input").at_each(batch.rows(), |trace| (0, trace.tokens_of("<s>")));
    firsts.stack(0).save("firsts");

    let results = session.run_on(&engine(), &mut |_| {}).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(model.decode(results.ints("answers").unwrap()), "Paris Paris Madrid Potter");
    assert_eq!(results.ints("answers").unwrap(), results.ints("lens").unwrap());
    assert_eq!(results.ints("firsts").unwrap(), [0; 4]);
    let thrice: Vec<f32> = results.floats("once").unwrap().iter().map(|x| x * 2.0 + x).collect();
    assert_eq!(results.floats("cat").unwrap(), thrice);
    assert_eq!(results.tensor("model.layers.2.output").unwrap().shape(), [2, 64]);
    let ids: Vec<Vec<i64>> = results.rows("ids").unwrap().iter().map(|row| row.values::<i64>().unwrap().to_vec()).collect();
    assert_eq!(ids.iter().map(Vec::len).collect::<Vec<_>>(), [6, 6, 4, 6]);
    let padded = results.padded("ids", Side::Left, -1.0).unwrap();
    assert_eq!(padded.shape(), [4, 6]);
    assert_eq!(padded.values::<i64>().unwrap()[12..18], [-1, -1, 0, 8, 9, 8]);
    assert_eq!(results.rows("answers").unwrap_err().code, Code::E4004);
}

#[test]
fn mistakes_of_batches() {
    let errors = |write: &dyn Fn(&Session)| {
        let session = toy().session();
        write(&session);
        session.program().expect_err("a mistake").0
    };
    let one = errors(&|session| {
        let batch = session.batch(PROMPTS);
        batch.hook(LOGITS).set(session.batch([PROMPTS[0]]).hook(LOGITS));
    });
    assert!(one.len() == 1 && one[0].code == Code::E1008 && one[0].message.contains("a batch of 1 stands beside a batch of 3"), "{one:?}");
    for (part, says) in [
        (("Rome", 0), "`Rome` does not stand in the prompt"),
        (("eiffel", 0), "does not stand"),
        (("Eiffel", 2), "stands 2 times"),
        (("Eiffel", -3), "stands 2 times"),
        (("", 0), "an empty text"),
    ] {
        let one = errors(&|session| assert_eq!(session.trace(PROMPTS[0]).position(part), 0));
        assert!(one.len() == 1 && one[0].code == Code::E2010 && one[0].message.contains(says), "{one:?}");
    }
    let one = errors(&|session| assert_eq!(session.trace(PROMPTS[0]).tokens_of("Eiffel"), 0..1));
    assert!(one[0].help[0].contains("`(\"Eiffel\", 0)` is the first"), "{one:?}");
    let one = errors(&|session| assert_eq!(session.trace([0, 2]).tokens_of("Eiffel"), 0..1));
    assert_eq!(one[0].code, Code::E2008);
    let one = errors(&|session| drop(session.trace(PROMPTS[0]).hooks("model.layers.*.mpl.output")));
    assert_eq!(one[0].code, Code::E2001);
}

const LOGITS: &str = "lm_head.output";

/// Prompts and names are bound in the bodies of loops, too.
#[test]
fn prompts_in_loops() {
    let mut body = Graph::new("");
    body.add(Op::Param { index: 0, ty: None }, [], Span::None);
    body.add(Op::Param { index: 1, ty: None }, [], Span::None);
    let prompt = body.add(Op::Const { value: Literal::Str("<s> Eiffel".into()) }, [], Span::None);
    let forward = body.add(Op::Forward { model: "m".into() }, [prompt], Span::None);
    let logits = body.add(Op::Read { hook: "output.logits".into() }, [forward], Span::None);
    body.results.push(logits);
    let mut graph = Graph::new("loop");
    graph.models.push(ModelDecl { name: "m".into(), reference: BUILT_IN.into(), span: Span::None });
    let zeros = graph.add(Op::Const { value: (&Tensor::new([1, 2, 16], vec![0f32; 32])).into() }, [], Span::None);
    let done = graph.add(Op::Loop { trip: 2, body: Body::new(body).unwrap() }, [zeros], Span::None);
    let last = graph.add(Op::Get { index: 0 }, [done], Span::None);
    graph.effects.push(Effect::new(EffectKind::Save { name: "logits".into() }, [last], Span::None));
    let models = [("m".into(), toy())].into();
    let results = run::run(graph, &models, &Reference, &mut |_| {}).unwrap_or_else(|errors| panic!("{errors}"));
    let trace = toy().session();
    trace.trace("<s> Eiffel").hook("lm_head.output").save("logits");
    let alone = trace.run_on(&Reference, &mut |_| {}).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(results.tensor("logits").unwrap().same_bits(alone.tensor("logits").unwrap()));
}

/// A text with the toy as its model `m`, run.
fn run_text(text: &str) -> Result<Results, Diagnostics> {
    let graph = parse(text).into_result()?;
    let models = [("m".into(), toy())].into();
    run::run(graph, &models, &engine(), &mut |_| {})
}

#[test]
fn names_and_prompts_of_texts() {
    let results = run_text(
        r#"graph @names models { m: "induction" } {
          %f = forward(["<s> Eiffel Paris Eiffel", "<s> Prado Madrid Prado"]) {model: m}
          %w = write(%f, read(%f) {hook: "model.layers[-1].output.0"}) {hook: "blocks.-1.hook_resid_post"}
          %h = slice(read(%w) {hook: "model.layers.-1.output"}) {dim: 1, start: -1}
          save argmax(apply(%h) {model: m, module: "unembed"}) {dim: -1} as "words"
          save argmax(slice(read(%f) {hook: "output.logits"}) {dim: 1, start: -1}) {dim: -1} as "same"
        }"#,
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(results.tensor("words").unwrap().shape(), [2, 1]);
    assert_eq!(toy().decode(results.ints("words").unwrap()), "Paris Madrid");
    assert_eq!(results.ints("words").unwrap(), results.ints("same").unwrap());

    let text = r#"graph @wrong models { m: "induction" } {
          %f = forward(["<s> Eiffel", "<s> Prado Madrid"]) {model: m}
          save read(%f) {hook: "lm_head.output"} as "f"
          %g = forward("<s>") {model: m}
          save read(%g) {hook: "model.layers[9].output"} as "h"
          save read(%g) {hook: "lm_head.output[0]"} as "l"
          save apply([1.0, 2.0]) {model: m, module: "unembedd"} as "a"
        }"#;
    let errors = run_text(text).expect_err("mistakes");
    let shown = errors.render(&Source::new("wrong.ig", text), false);
    let codes: Vec<&str> = errors.0.iter().map(|error| error.code.name()).collect();
    assert_eq!(codes, ["E2004", "E2001", "E2001", "E2005"], "{shown}");
    for says in
        ["have 2 and 3 tokens", "give each prompt a forward of its own", "`model.layers` has 4 entries", "`lm_head` returns a tensor"]
    {
        assert!(shown.contains(says), "{shown}");
    }
}
