//! What goes wrong while a program runs is an error with a code and a place.

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
    eval::Value,
    graph::{Effect, EffectKind, Graph},
    infer::Models,
    op::Op,
    random::Dice,
    tensor::Tensor,
    types::{DType, Type},
    verify::verify,
};

use super::{
    Case, Checker, Trouble,
    models::llama,
    program::{Program, ids},
};
use crate::{Backend, Handles, Outcome, host::Functions};

pub(super) fn check(checker: &mut Checker<'_>) {
    checker.section("failures");
    for wrong in [50.0, 1e6, 3e9, 1e18, -1.0, -50.0] {
        for hook in [None, Some("model.input"), Some("model.embed_tokens.input")] {
            checker.case(&format!("the computed token id {wrong}, written to {hook:?}"), |backend| wrong_ids(backend, wrong, hook));
        }
        checker.case(&format!("a module applied to the token id {wrong}"), |backend| {
            let mut program = Program::new(llama());
            let ids = computed_ids(&mut program, wrong);
            let rows = program.op(Op::Apply { model: "m".into(), module: "model.embed_tokens".into() }, [ids]);
            program.save("rows", rows);
            fails(program.run(backend), Code::E4003, Place::Somewhere)
        });
    }
    checker.case("an index that lies outside", |backend| {
        let mut program = Program::new(llama());
        let forward = program.forward(&ids(1, 3, &mut Dice::new(82)));
        let logits = program.read(forward, "lm_head.output");
        let best = program.op(Op::Argmax { dim: Some(-1), keepdim: true }, [logits]);
        let many = program.constant(&Tensor::scalar(1_000i64));
        let far = program.op(Op::Add {}, [best, many]);
        let picked = program.op(Op::Gather { dim: -1 }, [logits, far]);
        program.save("picked", picked);
        fails(program.run(backend), Code::E4003, Place::At(program.graph.span(picked)))
    });
    checker.case("models that are not there", |backend| {
        let mut program = Program::new(llama());
        let forward = program.forward(&ids(1, 3, &mut Dice::new(86)));
        let logits = program.read(forward, "lm_head.output");
        program.save("logits", logits);
        let models = Models::from([("m".into(), llama().spec.clone())]);
        let verified = verify(program.graph.clone(), &models).map_err(|errors| errors.to_string())?;
        match backend.run(&verified, &Handles::new(), &mut |_| {}) {
            Err(error) if error.message.contains("`m`") => Ok(0),
            Err(error) => Err(format!("the error does not name the model: {error}").into()),
            Ok(_) => Err("it runs without weights".to_owned().into()),
        }
    });
    for effect in [false, true] {
        let number = || Type::tensor(DType::I64, []);
        checker.case(&format!("a function that nobody has, effect: {effect}"), |backend| {
            fails(calls(backend, effect, number(), None), Code::E3009, Place::At(&Span::text(7, 8)))
        });
        checker.case(&format!("a function that fails, effect: {effect}"), |backend| {
            let fail = Err("no battery".to_owned());
            let result = calls(backend, effect, number(), Some(fail));
            if let Err(error) = &result
                && !error.message.contains("no battery")
            {
                return Err(format!("the error does not say why: {error}").into());
            }
            fails(result, Code::E4003, Place::At(&Span::text(7, 8)))
        });
        checker.case(&format!("a function that returns another type, effect: {effect}"), |backend| {
            let result = calls(backend, effect, number(), Some(Ok(Tensor::scalar(1.0f32).into())));
            fails(result, Code::E4003, Place::At(&Span::text(7, 8)))
        });
    }
}

enum Place<'a> {
    Somewhere,
    At(&'a Span),
}

fn fails(result: Result<Outcome, Diagnostic>, code: Code, place: Place<'_>) -> Case {
    let error = match result {
        Ok(_) => return Err(format!("it runs, where {} is due", code.name()).into()),
        Err(error) if error.code == code => error,
        Err(error) if error.code == Code::E4005 => return Err(error.into()),
        Err(error) => return Err(format!("it fails with another code than {}: {error}", code.name()).into()),
    };
    let found = error.labels.first().map(|label| &label.span);
    match place {
        Place::Somewhere if found.is_some_and(|span| *span != Span::None) => Ok(0),
        Place::At(span) if found == Some(span) => Ok(0),
        Place::Somewhere | Place::At(_) => Err(Trouble::Wrong(format!("the error has the place {found:?}: {error}"))),
    }
}

/// Ids of which one is not in the vocabulary.
fn computed_ids(program: &mut Program, wrong: f32) -> irc_ir::graph::NodeId {
    let number = program.constant(&Tensor::new([1, 3], vec![1.0f32, wrong, 2.0]));
    program.op(Op::Cast { dtype: DType::I64 }, [number])
}

fn wrong_ids(backend: &dyn Backend, wrong: f32, hook: Option<&str>) -> Case {
    let mut program = Program::new(llama());
    let ids = match hook {
        None => computed_ids(&mut program, wrong),
        Some(_) => program.constant(&ids(1, 3, &mut Dice::new(80))),
    };
    let mut forward = program.op(Op::Forward { model: "m".into() }, [ids]);
    if let Some(hook) = hook {
        let ids = computed_ids(&mut program, wrong);
        forward = program.write(forward, hook, ids);
    }
    let logits = program.read(forward, "lm_head.output");
    program.save("logits", logits);
    fails(program.run(backend), Code::E4003, Place::Somewhere)
}

/// A program that calls a function, and what that gives; nothing where there is none.
fn calls(backend: &dyn Backend, effect: bool, returns: Type, gives: Option<Result<Value, String>>) -> Result<Outcome, Diagnostic> {
    let mut graph = Graph::new("calls");
    let place = Span::text(7, 8);
    let value = match effect {
        true => {
            let kind = EffectKind::Call { name: "f".into(), returns };
            graph.effects.push(Effect::new(kind, [], place));
            graph.add(Op::EffectResult { entry: 0 }, [], Span::None)
        }
        false => graph.add(Op::Call { name: "f".into(), returns: Box::new(returns) }, [], place),
    };
    graph.effects.push(Effect::new(EffectKind::Save { name: "it".into() }, [value], Span::None));
    let program = verify(graph, &Models::new()).unwrap_or_else(|errors| panic!("the suite's program is wrong: {errors}"));
    let mut host = Functions::new(|_| {});
    if let Some(gives) = gives {
        host.add("f", move |_| gives.clone());
    }
    backend.run_for(&program, &Handles::new(), &mut host)
}
