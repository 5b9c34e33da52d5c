//! What may change no bit of a result: other forwards, other reads, other rows, other threads, later tokens.

use irc::{
    backends::{execute::Driven, rten::Rten},
    ir::op::Op,
};

use crate::support::{Dice, Program, hooks, ids, llama, run, same_bits};

/// A forward on random tokens, changed at random hooks, of which a few hooks are saved under `name`.
fn random_trace(program: &mut Program, dice: &mut Dice, name: &str) {
    let (batch, length) = (1 + dice.below(2), 1 + dice.below(40));
    let mut forward = program.forward(&ids(batch, length, dice));
    let hooks: Vec<String> = hooks(&program.handles["m"].clone());
    for _ in 0..dice.below(3) {
        let hook = dice.pick(&hooks);
        let value = program.read(forward, &hook);
        let new = if dice.below(3) == 0 { program.like(value, dice) } else { program.changed(value) };
        forward = program.write(forward, &hook, new);
    }
    let logits = hooks.last().expect("models have hooks").clone();
    for hook in [dice.pick(&hooks), logits] {
        let value = program.read(forward, &hook);
        if program.graph.effects.len() % 7 != 6 {
            program.save(format!("{name} {} {hook}", program.graph.effects.len()), value);
        } else {
            let last = program.op(Op::Index { dim: 1, index: -1 }, [value]);
            program.save(format!("{name} {} {hook}", program.graph.effects.len()), last);
        }
    }
}

#[test]
fn threads_change_nothing() {
    let one = Driven::new(Rten::new(Some(1)));
    let two = Driven::new(Rten::new(Some(2)));
    for seed in 40..45 {
        let mut program = Program::new(llama());
        let mut dice = Dice::new(seed);
        (0..4).for_each(|trace| random_trace(&mut program, &mut dice, &trace.to_string()));
        let forward = program.forward(&ids(1, 400, &mut dice));
        let logits = program.read(forward, "lm_head.output");
        program.save("long", logits);
        let [one, two] = [&one, &two].map(|engine| program.run(engine).expect("it runs"));
        same_bits("one thread and two", &one, &two);
    }
}

/// The order in which a program is written does not show.
#[test]
fn a_program_is_the_same_twice() {
    let mut program = Program::new(llama());
    let mut dice = Dice::new(60);
    (0..6).for_each(|trace| random_trace(&mut program, &mut dice, &trace.to_string()));
    same_bits("again", &run(&program), &run(&program));
    assert_eq!(
        irc::passes::schedule(&program.verified(), &Default::default()),
        irc::passes::schedule(&program.verified(), &Default::default())
    );
}
