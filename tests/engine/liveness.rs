//! What runs and what does not: asked of the report, and of an engine that writes down what it is asked for.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use irc::{
    backends::{Call, Caps, Engine, Handle, LoadedModel, execute::Driven, rten::Rten},
    ir::{
        diagnostic::Diagnostic,
        graph::NodeId,
        model::{ModelSpec, StageKind},
        op::Op,
        tensor::Tensor,
    },
};

use crate::support::{Dice, Program, check, hooks, ids, llama, odd, run};

/// The nodes of the model that an engine computed, call by call.
type Computed = Arc<Mutex<Vec<BTreeSet<NodeId>>>>;

/// Another engine, written against the public traits alone, that holds its caller to the contract.
struct Witness {
    inner: Rten,
    computed: Computed,
}

struct WitnessModel {
    inner: Arc<dyn LoadedModel>,
    spec: Arc<ModelSpec>,
    caps: Caps,
    computed: Computed,
}

impl Engine for Witness {
    fn caps(&self) -> Caps {
        Caps { engine: "witness".to_owned(), ..self.inner.caps() }
    }

    fn load(&self, model: &Handle) -> Result<Arc<dyn LoadedModel>, Diagnostic> {
        let (inner, spec) = (self.inner.load(model)?, model.spec.clone());
        Ok(Arc::new(WitnessModel { inner, spec, caps: self.caps(), computed: self.computed.clone() }))
    }

    fn enter(&self, work: &mut (dyn FnMut() + Send)) {
        self.inner.enter(work);
    }
}

impl LoadedModel for WitnessModel {
    fn run(&self, call: &Call<'_>) -> Result<Vec<Tensor>, Diagnostic> {
        let Call { given, want, .. } = *call;
        let spec = &self.spec;
        let attends = |node: NodeId| {
            spec.stages().iter().any(|stage| matches!(stage.kind, StageKind::Attention(_)) && stage.nodes.contains(&node.index()))
        };
        let rows = given.first().map_or(0, |(_, tensor)| tensor.shape()[0]);
        assert!((self.caps.min_rows..=self.caps.chunk.max(self.caps.min_rows)).contains(&rows), "{rows} rows");
        for (node, tensor) in given {
            assert_eq!(spec.source(*node), *node, "a source is given");
            let ty = spec.node_type(*node).as_tensor().expect("tensors are given");
            let tail: Vec<usize> = ty.shape[2..].iter().filter_map(|dim| dim.as_usize()).collect();
            assert_eq!((tensor.shape()[0], &tensor.shape()[1..], tensor.dtype()), (rows, &tail[..], ty.dtype));
        }
        let known: BTreeSet<NodeId> = given.iter().map(|(node, _)| *node).collect();
        assert_eq!(known.len(), given.len(), "nothing is given twice");
        assert_eq!(want.iter().collect::<BTreeSet<_>>().len(), want.len(), "nothing is wanted twice");
        assert!(!want.is_empty(), "something is wanted");
        let mut computed = BTreeSet::new();
        let mut stack = want.to_vec();
        while let Some(node) = stack.pop() {
            assert!(known.contains(&node) || !attends(node), "attention is asked for");
            if !known.contains(&node) && computed.insert(node) {
                let operands = spec.graph().node(node).operands.iter();
                stack.extend(operands.map(|operand| spec.source(*operand)));
                assert!(!matches!(spec.graph().node(node).op, Op::Input { .. }), "an input is missing");
            }
        }
        want.iter().for_each(|node| assert_eq!(spec.source(*node), *node, "a source is wanted"));
        self.computed.lock().expect("no test fails while it holds this").push(computed);
        self.inner.run(call)
    }

    fn numeric_class(&self) -> String {
        "witness".to_owned()
    }
}

/// Runs a program; returns its report, and how often each node of the model was computed.
fn watch(program: &Program) -> (irc::backends::Report, Vec<usize>) {
    let computed = Computed::default();
    let engine = Driven::new(Witness { inner: Rten::new(Some(1)), computed: computed.clone() });
    let outcome = program.run(&engine).expect("it runs");
    // What was only copied is of any class.
    assert!(outcome.report.engine_calls == 0 || outcome.report.numeric_class == "witness");
    let calls = computed.lock().expect("the run is over");
    assert_eq!(outcome.report.engine_calls, calls.len());
    let mut counts = vec![0; program.handles["m"].spec.graph().len()];
    calls.iter().flatten().for_each(|node| counts[node.index()] += 1);
    (outcome.report, counts)
}

/// How often the value that a hook is on was computed.
fn count(counts: &[usize], model: &Handle, hook: &str) -> usize {
    let spec = &model.spec;
    counts[spec.source(spec.hook_info(spec.hook(hook).expect("the hook exists")).node).index()]
}

fn saved(set: &[&str], read: &[&str]) -> Program {
    let mut dice = Dice::new(70);
    let mut program = Program::new(llama());
    let mut forward = program.forward(&ids(1, 5, &mut dice));
    for hook in set {
        let value = program.read(forward, hook);
        let new = program.like(value, &mut dice);
        forward = program.write(forward, hook, new);
    }
    for hook in read {
        let value = program.read(forward, hook);
        program.save(hook, value);
    }
    program
}

#[test]
fn only_what_is_needed_runs() {
    let model = llama();
    // Each layer has the stages before, of and after attention; the embedding and the head are one each.
    let (report, counts) = watch(&saved(&[], &["lm_head.output"]));
    assert_eq!((report.forwards, report.stages_run, report.stages_whole), (1, 11, 11));
    assert!(counts.iter().all(|count| *count <= 1), "nothing is computed twice");
    let (report, counts) = watch(&saved(&[], &["model.layers.0.output"]));
    assert_eq!((report.forwards, report.stages_run, report.stages_whole), (1, 4, 11));
    assert_eq!(
        ["model.layers.0.mlp.output", "model.layers.1.input_layernorm.output", "lm_head.output"].map(|hook| count(&counts, model, hook)),
        [1, 0, 0]
    );
    let (report, counts) = watch(&saved(&[], &["model.layers.1.self_attn.q"]));
    assert_eq!(report.stages_run, 6);
    assert_eq!(
        ["q_proj", "k_proj", "v_proj", "o_proj"].map(|name| count(&counts, model, &format!("model.layers.1.self_attn.{name}.output"))),
        [1, 0, 0, 0]
    );
    let (report, _) = watch(&saved(&[], &["model.layers.1.self_attn.scores"]));
    assert_eq!(report.stages_run, 6);
    let (report, counts) = watch(&saved(&[], &["model.embed_tokens.input"]));
    assert!(counts.iter().all(|count| *count == 0) && report.engine_calls == 0 && report.stages_run == 0);
    // A program that asks no model for anything runs none.
    let mut program = Program::new(model);
    let two = program.number(2.0);
    program.forward(&ids(1, 3, &mut Dice::new(1)));
    program.save("two", two);
    let report = run(&program).report;
    assert_eq!((report.forwards, report.stages_run, report.stages_whole, report.engine_calls), (0, 0, 0, 0));
}

#[test]
fn what_is_set_is_not_computed() {
    let model = llama();
    for (set, skipped, kept) in [
        ("model.layers.1.mlp.output", "model.layers.1.mlp.gate_proj.output", "model.layers.1.self_attn.o_proj.output"),
        ("model.layers.1.self_attn.output", "model.layers.1.self_attn.o_proj.output", "model.layers.1.mlp.down_proj.output"),
        ("model.layers.1.self_attn.output", "model.layers.1.self_attn.q_proj.output", "model.layers.0.mlp.output"),
        ("model.layers.1.self_attn.pattern", "model.layers.1.self_attn.q_proj.output", "model.layers.1.self_attn.v_proj.output"),
        ("model.layers.1.self_attn.z", "model.layers.1.self_attn.v_proj.output", "model.layers.1.self_attn.o_proj.output"),
        ("model.layers.1.mlp.act_fn.output", "model.layers.1.mlp.gate_proj.output", "model.layers.1.mlp.up_proj.output"),
        ("model.layers.1.output", "model.layers.0.mlp.output", "model.layers.2.mlp.output"),
        ("model.embed_tokens.output", "model.embed_tokens.output", "model.layers.0.mlp.output"),
    ] {
        let (_, counts) = watch(&saved(&[set], &["lm_head.output"]));
        assert_eq!([skipped, kept].map(|hook| count(&counts, model, hook)), [0, 1], "{set}: {skipped} and {kept}");
        // A read inside brings back what it needs, of the forward as it would have been.
        if set != skipped {
            let (_, counts) = watch(&saved(&[set], &["lm_head.output", skipped]));
            assert_eq!(count(&counts, model, skipped), 1, "{set}: {skipped} is read");
        }
    }
    // Early writes that a later one hides are as good as not there.
    let all: Vec<&str> = vec!["model.layers.0.output", "model.layers.1.mlp.output", "model.layers.2.output"];
    let (report, counts) = watch(&saved(&all, &["lm_head.output"]));
    assert_eq!((report.stages_run, counts.iter().sum::<usize>()), {
        let (report, counts) = watch(&saved(&all[2..], &["lm_head.output"]));
        (report.stages_run, counts.iter().sum())
    });
    let (report, _) = watch(&saved(&["lm_head.output"], &["lm_head.output"]));
    assert_eq!((report.stages_run, report.engine_calls), (0, 0));
}

/// Tokens that come from another forward are not needed where nobody looks at them.
#[test]
fn unread_tokens_cost_nothing() {
    let mut dice = Dice::new(71);
    let mut program = Program::new(llama());
    let first = program.forward(&ids(1, 4, &mut dice));
    let logits = program.read(first, "lm_head.output");
    let ids = program.op(Op::Argmax { dim: Some(-1), keepdim: false }, [logits]);
    let second = program.forward_on("m", ids);
    let value = program.read(second, "model.embed_tokens.output");
    let new = program.like(value, &mut dice);
    let second = program.write(second, "model.embed_tokens.output", new);
    let last = program.read(second, "model.layers.0.output");
    program.save("last", last);
    check(&program, "set embeddings");
    let (report, counts) = watch(&program);
    assert_eq!(count(&counts, llama(), "lm_head.output"), 0);
    // Attention and what is around it; setting the embeddings computes nothing.
    assert_eq!((report.stages_run, report.engine_calls), (3, 2));
}

#[test]
fn shared_prefixes_run_once() {
    // Equal traces are one.
    let mut program = Program::new(llama());
    let ids = ids(1, 5, &mut Dice::new(72));
    for at in 0..10 {
        let forward = program.forward(&ids);
        let logits = program.read(forward, "lm_head.output");
        program.save(at.to_string(), logits);
    }
    let (report, counts) = watch(&program);
    assert_eq!((report.forwards, report.stages_run, report.stages_whole), (10, 11, 110));
    assert!(counts.iter().all(|count| *count <= 1));
    // A sweep of writes at the last layer's output repeats the head alone.
    let mut program = Program::new(llama());
    for at in 0..10 {
        let forward = program.forward(&ids);
        let value = program.read(forward, "model.layers.2.output");
        let by = program.number(at as f32);
        let new = program.mul(value, by);
        let forward = program.write(forward, "model.layers.2.output", new);
        let logits = program.read(forward, "lm_head.output");
        program.save(at.to_string(), logits);
    }
    check(&program, "a sweep");
    let (report, counts) = watch(&program);
    assert_eq!(count(&counts, llama(), "model.layers.2.mlp.output"), 1);
    assert!(report.engine_calls <= 9, "the ten heads travel together: {report:?}");
}

/// Every hook set and read under the eyes of the witness.
#[test]
fn engines_are_asked_as_agreed() {
    for model in [llama(), odd()] {
        for hook in hooks(model) {
            for (batch, length) in [(1, 1), (1, 70)] {
                let mut dice = Dice::new(73);
                let mut program = Program::new(model);
                let forward = program.forward(&ids(batch, length, &mut dice));
                let value = program.read(forward, &hook);
                let new = program.changed(value);
                let set = program.write(forward, &hook, new);
                let after = program.read(set, hooks(model).last().expect("models have hooks"));
                program.save("after", after);
                let before = program.read(forward, &hook);
                program.save("before", before);
                watch(&program);
            }
        }
    }
}
