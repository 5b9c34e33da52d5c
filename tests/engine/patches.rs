//! Schedules of every strategy give the bits of each forward alone, whole, as it is written.

use irc::{
    backends::{Outcome, conformance::VOCABULARY, execute::Driven, rten::Rten},
    ir::{op::Op, plan::Step, tensor::Tensor},
    passes::{Strategy, Target, schedule},
};

use crate::{
    sessions,
    support::{Dice, Program, ids, llama, same_bits},
};

/// All strategies that leave out one thing, and what they are called.
fn strategies() -> [(&'static str, Strategy); 8] {
    let all = Strategy::default();
    [
        ("all", all),
        ("without live", Strategy { live: false, ..all }),
        ("without share", Strategy { share: false, ..all }),
        ("without prefixes", Strategy { prefixes: false, ..all }),
        ("without cone", Strategy { cone: false, ..all }),
        ("without positions", Strategy { positions: false, ..all }),
        ("without batch", Strategy { batch: false, ..all }),
        ("whole sequences", Strategy::WHOLE_SEQUENCES),
    ]
}

fn run(driven: &Driven, program: &Program) -> Outcome {
    program.run(driven).unwrap_or_else(|error| panic!("{error:?}"))
}

#[test]
fn no_strategy_changes_a_bit() {
    let of = |strategy: Strategy| Driven::new(Rten::new(Some(2))).with_strategy(strategy);
    let (written, cramped) = (of(Strategy::AS_WRITTEN), of(Strategy::default()).with_memory(2_000));
    let engines = strategies().map(|(name, strategy)| (name, of(strategy)));
    let (mut joins, mut identities, mut cones) = (0, 0, 0);
    for seed in 900..1_200 {
        let session = sessions::program(seed);
        let expected = run(&written, &session);
        for (name, engine) in &engines {
            let found = run(engine, &session);
            same_bits(&format!("session {seed}, {name}"), &found, &expected);
            let plan = schedule(&session.verified(), &engine.target()).expect("it has no loops");
            assert_eq!(found.report.token_stages, plan.token_stages, "session {seed}, {name}");
        }
        same_bits(&format!("session {seed}, little memory"), &run(&cramped, &session), &expected);
        let plan = schedule(&session.verified(), &Target::default()).expect("it has no loops");
        joins += plan.steps.iter().filter(|step| matches!(step, Step::Join(_))).count();
        identities += plan.identities.len();
        cones += plan.lanes.iter().filter(|lane| lane.first > 0 && !lane.writes.is_empty()).count();
    }
    assert!(joins > 100 && identities > 50 && cones > 60, "{joins} values joined, {identities} identities, {cones} cones");
}

/// A patch where both prompts still agree changes nothing, so that its run is the other one.
#[test]
fn a_patch_before_the_prompts_differ_costs_nothing() {
    let mut program = Program::new(llama());
    let mut dice = Dice::new(1);
    let clean = ids(1, 8, &mut dice);
    let mut corrupt = clean.clone().into_values::<i64>().expect("ids are i64");
    corrupt[3] = (corrupt[3] + 1) % VOCABULARY as i64;
    let clean = program.forward(&clean);
    let corrupt = program.forward(&Tensor::new([1, 8], corrupt));
    for position in 0..8 {
        let hook = "model.layers.1.output";
        let (own, other) = (program.read(corrupt, hook), program.read(clean, hook));
        let cut = Op::Slice { dim: 1, start: Some(position), end: Some(position + 1), step: 1 };
        let part = program.op(cut, [other]);
        let update = Op::Update { dim: 1, start: Some(position), end: Some(position + 1), step: 1 };
        let value = program.op(update, [own, part]);
        let patched = program.write(corrupt, hook, value);
        let logits = program.read(patched, "lm_head.output");
        let last = program.op(Op::Index { dim: 1, index: -1 }, [logits]);
        program.save(format!("{position}"), last);
    }
    let plan = schedule(&program.verified(), &Target::default()).expect("it has no loops");
    assert_eq!(plan.identities.len(), 3);
    // Two prompts, of which the second begins at position 3, and five patches.
    let firsts: Vec<usize> = plan.lanes.iter().map(|lane| lane.first).collect();
    assert_eq!(firsts, [0, 3, 3, 4, 5, 6, 7]);
}

/// Element by element and block by block, a chain of operations has the bits of one operation after the other.
#[test]
fn kernels_have_the_bits_of_their_operations() {
    let mut program = Program::new(llama());
    let mut dice = Dice::new(3);
    let forward = program.forward(&ids(1, 400, &mut dice));
    let logits = program.read(forward, "lm_head.output");
    let count = program.number(3.0);
    let row = program.constant(&Tensor::new([1, 1, 1], vec![0.5f32]));
    let scaled = program.mul(logits, count);
    let bent = program.op(Op::Silu {}, [scaled]);
    let both = program.add(bent, scaled);
    let chosen = program.op(Op::Gt {}, [both, row]);
    let picked = program.op(Op::Select {}, [chosen, both, logits]);
    let shared = program.op(Op::Exp {}, [logits]);
    let end = program.op(Op::Sub {}, [picked, shared]);
    program.save("end", end);
    program.save("shared", shared);
    let narrow = program.op(Op::Cast { dtype: irc::ir::types::DType::F16 }, [end]);
    let back = program.op(Op::Cast { dtype: irc::ir::types::DType::F32 }, [narrow]);
    let sum = program.op(Op::Sum { dims: vec![], keepdim: false }, [back]);
    program.save("sum", sum);
    let plan = schedule(&program.verified(), &Target::default()).expect("it has no loops");
    let kernels: Vec<usize> =
        plan.steps.iter().filter_map(|step| if let Step::Kernel(chain) = step { Some(chain.len()) } else { None }).collect();
    assert_eq!(kernels, [6, 2], "the comparison is a chain's, what is saved ends one, a reduction is none");
    let written = Driven::new(Rten::new(Some(2))).with_strategy(Strategy::AS_WRITTEN);
    same_bits("kernels", &run(&Driven::new(Rten::new(Some(2))), &program), &run(&written, &program));
}
