//! The law of extended forwards, on the reference backend and on the engine: their positions are those of the long forward, bit for bit, and
//! writes of each part apply to its own positions and are seen by later ones.

use irc::{
    backends::{Backend, Handle, reference::Reference},
    ir::{code::Code, diagnostic::Span, graph::NodeId, op::Op, tensor::Tensor, types::DType, verify::verify},
    models::Model,
};

use crate::support::{Dice, Program, engine, hooks, ids, llama, odd, tensor};

/// Part of a dimension.
fn slice(program: &mut Program, value: NodeId, dim: usize, start: usize, end: usize) -> NodeId {
    program.op(Op::Slice { dim: dim as i64, start: Some(start as i64), end: Some(end as i64), step: 1 }, [value])
}

fn update(program: &mut Program, whole: NodeId, part: NodeId, dim: usize, start: usize, end: usize) -> NodeId {
    program.op(Op::Update { dim: dim as i64, start: Some(start as i64), end: Some(end as i64), step: 1 }, [whole, part])
}

/// The dimensions of tokens of a hook: rows, and keys where it has two.
fn token_dims(model: &Handle, hook: &str) -> Vec<usize> {
    let ty = model.spec.hook_type(model.spec.hook(hook).unwrap());
    (0..ty.rank()).filter(|&at| ty.shape[at].symbols().iter().any(|symbol| &**symbol == "T")).collect()
}

/// A part of a prompt, from one position to another.
#[derive(Clone, Copy)]
struct Part {
    start: usize,
    end: usize,
}

/// What the positions of a part are of a value at a hook of the whole.
fn positions(program: &mut Program, value: NodeId, dims: &[usize], part: Part) -> NodeId {
    let rows = slice(program, value, dims[0], part.start, part.end);
    dims[1..].iter().fold(rows, |value, &keys| slice(program, value, keys, 0, part.end))
}

/// The value at a hook of the whole with the positions of a part set.
fn with_positions(program: &mut Program, whole: NodeId, set: NodeId, dims: &[usize], part: Part) -> NodeId {
    let mut set = set;
    if let [rows, keys] = *dims {
        let old = slice(program, whole, rows, part.start, part.end);
        set = update(program, old, set, keys, 0, part.end);
    }
    update(program, whole, set, dims[0], part.start, part.end)
}

fn check(model: &Handle, length: usize, seed: u64) {
    let mut dice = Dice::new(seed);
    let hooks = hooks(model);
    let batch = 1 + dice.below(2);
    let vocabulary = model.spec.vocabulary();
    let ids: Vec<i64> = (0..batch * length).map(|_| dice.below(vocabulary) as i64).collect();
    let ids = Tensor::new([batch, length], ids);
    let mut cuts = vec![0, length];
    (0..1 + dice.below(2)).for_each(|_| cuts.push(1 + dice.below(length - 1)));
    cuts.sort_unstable();
    cuts.dedup();
    let parts: Vec<Part> = cuts.windows(2).map(|cut| Part { start: cut[0], end: cut[1] }).collect();
    // Each hook is written in one part at most, in the order of the model.
    let mut writes: Vec<(usize, usize)> = (0..dice.below(4)).map(|_| (dice.below(hooks.len()), dice.below(parts.len()))).collect();
    writes.sort_unstable();
    writes.dedup_by_key(|(hook, _)| *hook);

    let mut program = Program::new(model);
    let all = program.constant(&ids);
    let tokens: Vec<NodeId> = parts.iter().map(|part| slice(&mut program, all, 1, part.start, part.end)).collect();
    let mut forward = None;
    let mut reads = vec![];
    let mut values = vec![];
    for (at, _) in parts.iter().enumerate() {
        let mut now = match forward {
            None => program.forward_on("m", tokens[at]),
            Some(before) => program.op(Op::Extend {}, [before, tokens[at]]),
        };
        for &(hook, _) in writes.iter().filter(|(_, part)| *part == at) {
            let old = program.read(now, &hooks[hook]);
            let value = match program.dtype(old) {
                // Ids and positions that every model here has.
                DType::I64 => {
                    let shape = program.shape(old);
                    let ids = (0..shape.iter().product()).map(|_| dice.below(10) as i64).collect();
                    program.constant(&Tensor::new(shape, ids))
                }
                _ => program.like(old, &mut dice),
            };
            values.push((hook, value));
            now = program.write(now, &hooks[hook], value);
        }
        reads.push(now);
        forward = Some(now);
    }
    let mut long = program.forward_on("m", all);
    for &(hook, part) in &writes {
        let value = values.iter().find(|(of, _)| *of == hook).unwrap().1;
        let whole = program.read(long, &hooks[hook]);
        let set = with_positions(&mut program, whole, value, &token_dims(model, &hooks[hook]), parts[part]);
        long = program.write(long, &hooks[hook], set);
    }
    for hook in &hooks {
        let dims = token_dims(model, hook);
        let whole = program.read(long, hook);
        for (at, &part) in parts.iter().enumerate() {
            let expected = positions(&mut program, whole, &dims, part);
            program.save(format!("long {at} {hook}"), expected);
            let found = program.read(reads[at], hook);
            program.save(format!("extended {at} {hook}"), found);
        }
    }
    for backend in [&Reference as &dyn Backend, engine()] {
        let outcome = program.run(backend).unwrap();
        for hook in &hooks {
            for at in 0..parts.len() {
                let (expected, found) =
                    (tensor(&outcome, &format!("long {at} {hook}")), tensor(&outcome, &format!("extended {at} {hook}")));
                let written: Vec<_> = writes.iter().map(|(hook, part)| (&hooks[*hook], part)).collect();
                let case = format!("{}, {seed}: {hook} of part {at} of {cuts:?}, written {written:?}", backend.name());
                assert!(expected.same_bits(found), "{case}:\n{expected:?}\n{found:?}");
            }
        }
    }
}

#[test]
fn extended_forwards_are_the_positions_of_long_ones() {
    let toy = Model::open("induction").unwrap().handle().unwrap();
    for seed in 0..12 {
        check(llama(), 7, seed);
        check(&toy, 9, 200 + seed);
    }
}

/// Where positions see later ones, more tokens change what was there.
#[test]
fn only_causal_models_are_extended() {
    let mut program = Program::new(odd());
    let forward = program.forward(&ids(1, 3, &mut Dice::new(1)));
    let tokens = program.constant(&ids(1, 1, &mut Dice::new(2)));
    program.graph.add(Op::Extend {}, [forward, tokens], Span::None);
    let errors = verify(program.graph.clone(), &[("m".into(), odd().spec.clone())].into()).unwrap_err();
    assert_eq!(errors.0.iter().map(|error| error.code).collect::<Vec<_>>(), [Code::E2009]);
}
