//! Every hook read and set, every module applied, against the reference.

use irc_ir::{op::Op, random::Dice};

use super::{
    Checker, Suite,
    models::all,
    program::{Program, hooks, ids, random, same_bits},
};

pub(super) fn check(checker: &mut Checker<'_>, suite: &Suite) {
    hooks_are_read(checker);
    hooks_are_set(checker);
    pairs_are_set(checker, suite);
    modules_are_applied(checker);
}

fn hooks_are_read(checker: &mut Checker<'_>) {
    checker.section("hooks read");
    let mut dice = Dice::new(10);
    for (name, model, _) in all() {
        for (batch, length) in [(1, 7), (2, 5), (1, 1), (3, 1), (1, 70)] {
            let ids = ids(batch, length, &mut dice);
            checker.case(&format!("all hooks of {name}, {batch}x{length}"), |backend| {
                let mut program = Program::new(model);
                let forward = program.forward(&ids);
                program.save_all(forward, "");
                program.against_reference(backend).map(|_| 0)
            });
        }
        for hook in hooks(model) {
            let ids = ids(2, 4, &mut dice);
            checker.case(&format!("{hook} of {name} alone"), |backend| {
                let mut program = Program::new(model);
                let forward = program.forward(&ids);
                let value = program.read(forward, &hook);
                program.save("it", value);
                program.against_reference(backend).map(|_| 0)
            });
        }
    }
}

/// Set to a function of its value and to a constant; what follows from it, alone and with all other hooks beside it.
fn hooks_are_set(checker: &mut Checker<'_>) {
    checker.section("hooks set");
    for (name, model, logits) in all() {
        for hook in hooks(model) {
            for (constant, batch) in [(false, 1), (true, 1), (false, 2), (true, 2)] {
                checker.case(&format!("{hook} of {name}, to a constant: {constant}, batch {batch}"), |backend| {
                    let mut dice = Dice::new(12);
                    let mut program = Program::new(model);
                    let forward = program.forward(&ids(batch, 5, &mut dice));
                    let value = program.read(forward, &hook);
                    let new = if constant { program.like(value, &mut dice) } else { program.changed(value) };
                    let set = program.write(forward, &hook, new);
                    let last = program.read(set, logits);
                    program.save("logits", last);
                    let alone = program.against_reference(backend)?;
                    if batch == 2 {
                        program.save_all(set, "after ");
                        program.save_all(forward, "before ");
                        let all = program.against_reference(backend)?;
                        same_bits(&alone, &all)?;
                    }
                    Ok(0)
                });
            }
        }
    }
}

/// Two hooks set in one forward, in either order: what one write hides of the other must not be missed, and what it does
/// not hide must count.
fn pairs_are_set(checker: &mut Checker<'_>, suite: &Suite) {
    checker.section("pairs of hooks set");
    let mut dice = Dice::new(14);
    for (name, model, logits) in all() {
        let hooks = hooks(model);
        let near = (0..hooks.len()).flat_map(|a| (1..6).map(move |b| (a, a + b)));
        let mut pairs: Vec<(usize, usize)> = near.filter(|(_, b)| *b < hooks.len()).collect();
        pairs.extend((0..suite.pairs).map(|_| (dice.below(hooks.len()), dice.below(hooks.len()))));
        for (a, b) in pairs {
            let dice = &mut dice;
            checker.case(&format!("{} and {} of {name}", hooks[a], hooks[b]), |backend| {
                let mut program = Program::new(model);
                let mut forward = program.forward(&ids(1, 3, dice));
                for hook in [a, b] {
                    let value = program.read(forward, &hooks[hook]);
                    let new = if dice.once_in(2) { program.like(value, dice) } else { program.changed(value) };
                    forward = program.write(forward, &hooks[hook], new);
                }
                let last = program.read(forward, logits);
                program.save("logits", last);
                program.against_reference(backend).map(|_| 0)
            });
        }
    }
}

fn modules_are_applied(checker: &mut Checker<'_>) {
    checker.section("modules applied");
    let mut dice = Dice::new(15);
    for (name, model, _) in all() {
        for module in model.spec.modules().filter(|module| module.closed) {
            let ty = model.spec.hook_type(module.input);
            let tail: Vec<usize> = ty.shape[2..].iter().filter_map(|dim| dim.as_usize()).collect();
            let anywhere: [&[usize]; 6] = [&[], &[5], &[1], &[2, 3], &[2, 3, 4], &[0, 3]];
            let in_rows: [&[usize]; 4] = [&[1, 1], &[1, 4], &[2, 3], &[3, 1]];
            for leading in if module.positionwise { anywhere.as_slice() } else { in_rows.as_slice() } {
                let shape: Vec<usize> = leading.iter().chain(&tail).copied().collect();
                let given = random(ty.dtype, &shape, &mut dice);
                checker.case(&format!("{} of {name} on {shape:?}", module.path), |backend| {
                    let mut program = Program::new(model);
                    let given = program.constant(&given);
                    let result = program.op(Op::Apply { model: "m".into(), module: module.path.clone() }, [given]);
                    program.save("it", result);
                    let outcome = program.against_reference(backend)?;
                    match outcome.report.forwards {
                        0 => Ok(0),
                        count => Err(format!("it counts as {count} forward passes").into()),
                    }
                });
            }
        }
    }
}
