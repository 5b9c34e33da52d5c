//! Edits: an engine that makes them where it computes a value gives the bits of one that is given what the host made of it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use irc::{
    backends::{
        Backend, Call, Caps, Engine, Handle, LoadedModel, Outcome, conformance::program, execute::Driven, reference::Reference, rten::Rten,
    },
    ir::{diagnostic::Diagnostic, graph::NodeId, op::Op, tensor::Tensor, text::parse},
    models::Model,
    passes::Strategy,
};

use crate::{
    chains::{self, Chains},
    support::{Dice, Program, ids, llama},
};

/// `rten`, which takes edits by stopping at each value that is edited.
struct Editor {
    inner: Rten,
    edits: Arc<AtomicUsize>,
    chunk: usize,
}

struct EditorModel {
    inner: Arc<dyn LoadedModel>,
    edits: Arc<AtomicUsize>,
}

impl Engine for Editor {
    fn caps(&self) -> Caps {
        Caps { edits: true, splices: true, chunk: self.chunk, ..self.inner.caps() }
    }

    fn load(&self, model: &Handle) -> Result<Arc<dyn LoadedModel>, Diagnostic> {
        Ok(Arc::new(EditorModel { inner: self.inner.load(model)?, edits: self.edits.clone() }))
    }
}

impl LoadedModel for EditorModel {
    fn run(&self, call: &Call<'_>) -> Result<Vec<Tensor>, Diagnostic> {
        let mut edits = call.edits.to_vec();
        // Nodes come after what they are computed from.
        edits.sort_by_key(|(node, _)| *node);
        self.edits.fetch_add(edits.len(), Ordering::Relaxed);
        let mut made: Vec<(NodeId, Tensor)> = vec![];
        let run = |made: &[(NodeId, Tensor)], want: &[NodeId]| {
            let given = made.iter().map(|(node, tensor)| (*node, tensor)).chain(call.given.iter().copied());
            let left: Vec<NodeId> = want.iter().copied().filter(|node| made.iter().all(|(known, _)| known != node)).collect();
            let mut found = match left.is_empty() {
                true => vec![],
                false => self.inner.run(&Call { given: &given.collect::<Vec<_>>(), edits: &[], want: &left, cancel: call.cancel })?,
            }
            .into_iter();
            let each = want.iter().map(|node| match made.iter().find(|(known, _)| known == node) {
                Some((_, tensor)) => tensor.clone(),
                None => found.next().expect("the engine gives what is wanted"),
            });
            Ok::<_, Diagnostic>(each.collect::<Vec<_>>())
        };
        for (node, edit) in edits {
            let x = run(&made, &[node])?.remove(0);
            made.push((node, edit.apply(&x)?));
        }
        run(&made, call.want)
    }

    fn numeric_class(&self) -> String {
        self.inner.numeric_class()
    }
}

fn run(backend: &dyn Backend, model: &Model) -> Outcome {
    let text = include_str!("../cases/plan/edits.ig");
    let models = [("m".into(), model.clone())].into();
    let program = irc::run::check(parse(text).into_result().expect("it parses"), &models).expect("it is right");
    let handles = [("m".into(), model.handle().expect("it has weights"))].into();
    backend.run(&program, &handles, &mut |_| {}).expect("it runs")
}

#[test]
fn an_edit_is_what_the_host_would_give() {
    let model = Model::open("induction").expect("it is part of the program");
    let edits = Arc::new(AtomicUsize::new(0));
    let plain = run(&Driven::new(Rten::new(Some(1))), &model);
    let edited = run(&Driven::new(Editor { inner: Rten::new(Some(1)), edits: edits.clone(), chunk: 64 }), &model);
    // One for each stage and for all lanes that it edits.
    assert_eq!(edits.load(Ordering::Relaxed), 3, "edits reach the engine");
    assert!(plain.saves.len() > 12);
    for ((name, plain), (_, edited)) in plain.saves.iter().zip(&edited.saves) {
        assert!(plain.same_bits(edited), "`{name}` is {edited:?}, not {plain:?}");
    }
}

/// Also where values are infinite or not numbers, and where the reference, which has other bits, can be asked as well.
#[test]
fn chains_of_operations_have_the_bits_of_the_host() {
    let (plain, edits) = (Driven::new(Rten::new(Some(1))), Arc::new(AtomicUsize::new(0)));
    // Few rows at a time, so that edits are cut as well.
    let editor = Driven::new(Editor { inner: Rten::new(Some(1)), edits: edits.clone(), chunk: 3 });
    let mut counts = [0; 2];
    for seed in 0..400 {
        let chains = chains::program(seed);
        let run = |backend: &dyn Backend| chains.program.run(backend).unwrap_or_else(|error| panic!("program {seed}: {error:?}"));
        let (expected, found) = (run(&plain), run(&editor));
        chains::same_bits(&found, &expected).unwrap_or_else(|error| panic!("program {seed}: {error}"));
        if chains.tame {
            program::agree(&found, &run(&Reference)).unwrap_or_else(|error| panic!("program {seed}: {error}"));
        }
        counts = [0, 1].map(|at| counts[at] + chains.counts()[at]);
    }
    let mut spliced = 0;
    for seed in 0..200 {
        let chains = chains::wide(seed);
        let run = |backend: &dyn Backend| chains.program.run(backend).unwrap_or_else(|error| panic!("wide program {seed}: {error:?}"));
        chains::same_bits(&run(&editor), &run(&plain)).unwrap_or_else(|error| panic!("wide program {seed}: {error}"));
        spliced += chains.spliced(Strategy::default());
    }
    assert!(spliced > 80, "{spliced} writes are chains of operations");
    // The others are of attention, of token ids, at the ends of stages, or mix what no edit can.
    let [writes, edited] = counts;
    assert!(3 * edited > writes && writes > 1_500, "{edited} of {writes} writes are edits");
    let calls = edits.load(Ordering::Relaxed);
    assert!(2 * calls > edited, "{calls} edits reach the engine, {edited} are planned");
}

/// However long a chain is, little of it is looked at, also where each value is used twice: what is longer is given.
#[test]
fn long_chains_are_given() {
    for (length, edits) in [(15, 1), (5_000, 0)] {
        let mut program = Program::new(llama());
        let forward = program.forward(&ids(1, 2, &mut Dice::new(1)));
        let hook = "model.layers.1.mlp.up_proj.output";
        let mut value = program.read(forward, hook);
        let half = program.number(0.5);
        for at in 0..length {
            let start = Some(at % 48);
            let part = program.op(Op::Slice { dim: 2, start, end: None, step: 48 }, [value]);
            let part = if at < 48 { program.mul(part, half) } else { part };
            value = program.op(Op::Update { dim: 2, start, end: None, step: 48 }, [value, part]);
        }
        let written = program.write(forward, hook, value);
        let end = program.read(written, "lm_head.output");
        program.save("end", end);
        let chains = Chains { program, tame: true };
        assert_eq!(chains.counts(), [1, edits], "{length} updates");
        let editor = Driven::new(Editor { inner: Rten::new(Some(1)), edits: Arc::default(), chunk: 64 });
        let run = |backend: &dyn Backend| chains.program.run(backend).unwrap_or_else(|error| panic!("{length} updates: {error:?}"));
        chains::same_bits(&run(&editor), &run(&Driven::new(Rten::new(Some(1)))))
            .unwrap_or_else(|error| panic!("{length} updates: {error}"));
    }
}
