//! What [`irc::passes::cost`] says before anything runs, against what then was counted: matrix products by the shapes in the
//! engines' own profiles, bytes at the engine's boundary, and the peak of memory by an allocator that counts.

#[path = "engine/sessions.rs"]
mod sessions;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::BTreeMap,
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

use irc::{
    backends::{
        Backend, Call, Caps, Engine, Handle, Handles, LoadedModel, Outcome,
        conformance::{llama, odd, program::same_bits},
        execute::Driven,
        rten::Rten,
    },
    ir::{diagnostic::Diagnostic, plan::Edit, tensor::Tensor, text::parse, verify::Verified},
    models::Model,
    passes::{
        Strategy,
        cost::{Cost, Product, cost},
        schedule,
    },
};

/// Allocations are those of the whole process, so that tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Bytes on the heap.
static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);
/// Whether the engine is running: what it takes for itself does not count.
static INSIDE: AtomicBool = AtomicBool::new(false);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn add(bytes: i64) {
    let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
    if !INSIDE.load(Relaxed) {
        PEAK.fetch_max(live, Relaxed);
    }
}

// SAFETY: it is the system's allocator, and the sizes are only added up.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as i64);
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as i64);
        // SAFETY: as the caller says.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: as the caller says.
        unsafe { System.dealloc(place, layout) }
    }
}

/// An engine whose boundary is watched.
struct Watched<E>(E, Arc<Seen>);

#[derive(Default)]
struct Seen {
    calls: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// Bytes on the heap at the first call, without what it was given.
    before: AtomicI64,
}

struct WatchedModel(Arc<dyn LoadedModel>, Arc<Seen>);

impl<E: Engine> Engine for Watched<E> {
    fn caps(&self) -> Caps {
        self.0.caps()
    }
    fn load(&self, model: &Handle) -> Result<Arc<dyn LoadedModel>, Diagnostic> {
        Ok(Arc::new(WatchedModel(self.0.load(model)?, self.1.clone())))
    }
    fn enter(&self, work: &mut (dyn FnMut() + Send)) {
        self.0.enter(work);
    }
}

impl LoadedModel for WatchedModel {
    fn run(&self, call: &Call<'_>) -> Result<Vec<Tensor>, Diagnostic> {
        let mut given: usize = call.given.iter().map(|(_, tensor)| tensor.bytes()).sum();
        given += call.edits.iter().map(|(_, edit)| edit.bytes()).sum::<usize>();
        if self.1.calls.fetch_add(1, Relaxed) == 0 {
            let before = LIVE.load(Relaxed) - given as i64;
            self.1.before.store(before, Relaxed);
            PEAK.store(before, Relaxed);
        }
        self.1.bytes_in.fetch_add(given as u64, Relaxed);
        PEAK.fetch_max(LIVE.load(Relaxed), Relaxed);
        INSIDE.store(true, Relaxed);
        let outputs = self.0.run(call);
        INSIDE.store(false, Relaxed);
        PEAK.fetch_max(LIVE.load(Relaxed), Relaxed);
        let outputs = outputs?;
        self.1.bytes_out.fetch_add(outputs.iter().map(Tensor::bytes).sum::<usize>() as u64, Relaxed);
        Ok(outputs)
    }
    fn numeric_class(&self) -> String {
        self.0.numeric_class()
    }
}

/// A program with its models.
struct Case {
    name: String,
    program: Verified,
    handles: Handles,
}

fn text(name: &str, text: &str, handle: &Handle) -> Case {
    let graph = parse(text).into_result().unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
    let models = [("m".into(), handle.spec.clone())].into();
    let program = irc::ir::verify::verify(graph, &models).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
    Case { name: name.to_owned(), program, handles: Handles::from([("m".into(), handle.clone())]) }
}

fn ids(batch: usize, length: usize, salt: usize) -> String {
    let row = |row: usize| format!("{:?}", (0..length).map(|at| (at * 7 + row * 3 + salt) % 50).collect::<Vec<_>>());
    format!("[{}]", (0..batch).map(row).collect::<Vec<_>>().join(", "))
}

/// A sweep of patches of the last position over the layers and others, as a plain loop of traces.
fn sweep(layers: usize, clean: &str, corrupt: &str, last: usize) -> String {
    let mut text = format!("graph @sweep models {{ m: \"m\" }} {{\n %a = forward({clean}) {{model: m}}\n");
    for layer in 0..layers {
        let hook = format!("model.layers.{layer}.output");
        text += &format!(
            " %b{layer} = forward({corrupt}) {{model: m}}
 %h{layer} = read(%b{layer}) {{hook: \"{hook}\"}}
 %c{layer} = slice(read(%a) {{hook: \"{hook}\"}}) {{dim: 1, start: {last}}}
 %w{layer} = write(%b{layer}, update(%h{layer}, %c{layer}) {{dim: 1, start: {last}}}) {{hook: \"{hook}\"}}
 save slice(read(%w{layer}) {{hook: \"lm_head.output\"}}) {{dim: 1, start: {last}}} as \"s{layer}\"\n"
        );
    }
    text + "}\n"
}

fn cases() -> Vec<Case> {
    let whole = |tokens: &str, hook: &str| {
        format!("graph @whole models {{ m: \"m\" }} {{\n save read(forward({tokens}) {{model: m}}) {{hook: \"{hook}\"}} as \"x\" }}\n")
    };
    let mut cases = vec![
        text("one token", &whole(&ids(1, 1, 0), "lm_head.output"), llama()),
        text("plain", &whole(&ids(3, 100, 0), "lm_head.output"), llama()),
        text("early", &whole(&ids(1, 70, 0), "model.layers.0.output"), llama()),
        text("inside", &whole(&ids(2, 9, 0), "model.layers.1.mlp.up_proj.output"), llama()),
        text("pattern", &whole(&ids(2, 9, 0), "model.layers.1.self_attn.pattern"), llama()),
        text("ahead", &whole(&ids(2, 9, 0), "head.output"), odd()),
        text("sweep", &sweep(2, &ids(1, 12, 0), &ids(1, 12, 1), 11), llama()),
    ];
    cases.extend((0..60).map(|seed| {
        let program = sessions::program(seed);
        Case { name: format!("session {seed}"), program: program.verified(), handles: program.handles }
    }));
    match Model::open("smollm2").and_then(|model| model.handle()) {
        Ok(handle) => {
            let (clean, corrupt) = ("[[504, 14430, 9487, 314, 260, 3383, 282]]", "[[504, 14430, 9487, 330, 260, 3383, 282]]");
            let lens = |layer: usize| {
                format!(
                    " save apply(apply(slice(read(%f) {{hook: \"model.layers.{layer}.output\"}}) {{dim: 1, start: 6}}) {{model: m, module: \"model.norm\"}}) {{model: m, module: \"lm_head\"}} as \"l{layer}\"\n"
                )
            };
            let lens: String = (0..30).map(lens).collect();
            let lens = format!("graph @lens models {{ m: \"m\" }} {{\n %f = forward({clean}) {{model: m}}\n{lens}}}\n");
            cases.push(text("smollm2 sweep", &sweep(30, clean, corrupt, 6), &handle));
            cases.push(text("smollm2 lens", &lens, &handle));
            cases.push(text("smollm2 early", &whole(clean, "model.layers.3.output"), &handle));
        }
        Err(error) => eprintln!("SKIPPED: SmolLM2 is not here: {error}"),
    }
    cases
}

/// What is planned, what was seen, and what the run says.
fn run(case: &Case, engine: impl Engine + 'static, strategy: Strategy) -> (Cost, Arc<Seen>, Outcome) {
    let seen = Arc::new(Seen::default());
    let driven = Driven::new(Watched(engine, seen.clone())).with_strategy(strategy);
    let target = driven.target();
    let plan = schedule(&case.program, &target).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let planned = cost(&case.program, &plan, &target);
    case.handles.values().for_each(|handle| driven.load(handle).unwrap_or_else(|error| panic!("{error}")));
    drop(plan);
    let outcome = driven.run(&case.program, &case.handles, &mut |_| {}).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let (total, report) = (planned.total, &outcome.report);
    let load = |counter: &AtomicU64| counter.load(Relaxed);
    assert_eq!(
        (load(&seen.calls), load(&seen.bytes_in), load(&seen.bytes_out)),
        (total.calls, total.bytes_in, total.bytes_out),
        "{}",
        case.name
    );
    assert_eq!(
        (report.bytes_in, report.bytes_out, report.engine_calls as u64),
        (total.bytes_in, total.bytes_out, total.calls),
        "{}",
        case.name
    );
    assert_eq!((report.token_stages as u64, report.stages_run as u64), (total.tokens, total.stages), "{}", case.name);
    assert_eq!(report.steps.len(), planned.steps.len(), "{}", case.name);
    for (at, (ran, planned)) in report.steps.iter().zip(&planned.steps).enumerate() {
        let ran = (ran.crossed.calls as u64, ran.crossed.bytes_in, ran.crossed.bytes_out);
        assert_eq!(ran, (planned.work.calls, planned.work.bytes_in, planned.work.bytes_out), "{} step {at}", case.name);
    }
    let products: u64 = planned.products.iter().map(|(product, times)| product.flops() * times).sum();
    assert_eq!(products, total.matrix_flops, "{}", case.name);
    (planned, seen, outcome)
}

/// A product from the shapes of its factors, as engines write them.
fn product(left: &[u64], right: &[u64]) -> Product {
    let (inner, columns) = (left[left.len() - 1], if right.len() > 1 { right[right.len() - 1] } else { 1 });
    Product { rows: left[..left.len() - 1].iter().product(), inner, columns }
}

fn compare(what: &str, planned: &Cost, counted: &BTreeMap<Product, u64>) {
    assert_eq!(&planned.products, counted, "{what}: planned and counted matrix products");
    let flops: u64 = counted.iter().map(|(product, times)| product.flops() * times).sum();
    assert_eq!(planned.total.matrix_flops, flops, "{what}");
}

const CHILD: &str = "IRC_PLANNED_CHILD";

/// rten writes its profile to standard output, so that a process of its own runs the programs.
#[test]
fn products_are_those_in_the_profile_of_rten() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if std::env::var_os(CHILD).is_some() {
        for case in cases() {
            println!("\nPROGRAM {}", case.name);
            run(&case, Rten::new(Some(2)), Strategy::default());
        }
        return;
    }
    let this = std::env::current_exe().unwrap_or_else(|error| panic!("{error}"));
    let child = Command::new(this)
        .args(["--exact", "products_are_those_in_the_profile_of_rten", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .env("RTEN_TIMING", "by-shape=1 filter-op=MatMul")
        .output()
        .unwrap_or_else(|error| panic!("{error}"));
    let out = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{out}\n{}", String::from_utf8_lossy(&child.stderr));
    let mut counted: BTreeMap<&str, (u64, BTreeMap<Product, u64>)> = BTreeMap::new();
    let mut now = "";
    for line in out.lines() {
        if let Some(name) = line.strip_prefix("PROGRAM ") {
            now = name;
            counted.insert(now, Default::default());
        }
        let Some((runs, products)) = counted.get_mut(now) else { continue };
        *runs += u64::from(line.contains("ops evaluated in"));
        let Some((shapes, rest)) = line.trim().strip_prefix('[').and_then(|line| line.rsplit_once(']')) else { continue };
        let shapes: Vec<Vec<u64>> = shapes
            .split("], [")
            .map(|shape| shape.split(", ").map(|size| size.parse().unwrap_or_else(|error| panic!("{line}: {error}"))).collect())
            .collect();
        let times: u64 = rest.split_whitespace().next().and_then(|times| times.parse().ok()).unwrap_or_else(|| panic!("{line}"));
        *products.entry(product(&shapes[0], &shapes[1])).or_default() += times;
    }
    let cases = cases();
    assert_eq!(counted.len(), cases.len());
    for case in &cases {
        let driven = Driven::new(Rten::new(Some(2)));
        let plan = schedule(&case.program, &driven.target()).unwrap_or_else(|error| panic!("{error}"));
        let planned = cost(&case.program, &plan, &driven.target());
        let (runs, products) = &counted[&*case.name];
        assert_eq!(*runs, planned.total.calls, "{}", case.name);
        compare(&case.name, &planned, products);
    }
}

/// ONNX Runtime computes whole stages, and writes files.
#[cfg(feature = "ort")]
#[test]
fn products_are_those_in_the_profile_of_onnx_runtime() {
    use irc::{
        backends::ort::{Ort, runtime::Runtime},
        ort::{Target, library_or_setup},
    };
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let found = library_or_setup(Target::Cpu, &mut |_| {});
    let Ok(path) = found.map_err(|error| eprintln!("SKIPPED: ONNX Runtime is not here: {error}")) else { return };
    let runtime = Runtime::load(&path, Some(2)).unwrap_or_else(|error| panic!("{error}"));
    let folder = std::env::temp_dir().join(format!("irc-planned-{}", std::process::id()));
    let mut edits = cases();
    edits.push({
        let model = Model::open("induction").unwrap_or_else(|error| panic!("{error}"));
        let graph = parse(include_str!("cases/plan/edits.ig")).into_result().unwrap_or_else(|errors| panic!("{errors:?}"));
        let program = irc::run::check(graph, &[("m".into(), model.clone())].into()).unwrap_or_else(|errors| panic!("{errors}"));
        let handles = Handles::from([("m".into(), model.handle().unwrap_or_else(|error| panic!("{error}")))]);
        Case { name: "edits".to_owned(), program, handles }
    });
    let relu = "update(relu(%x), div(slice(%x) {dim: 2, start: 1}, %v)) {dim: 2, start: 1}";
    for hook in ["mlp.output", "mlp.up_proj.output"] {
        let hook = format!("model.layers.1.{hook}");
        let made = format!(
            "graph @spliced models {{ m: \"m\" }} {{\n %f = forward({}) {{model: m}}\n %x = read(%f) {{hook: \"{hook}\"}}\n %v = mean(read(%f) {{hook: \"model.layers.0.output\"}})\n save read(write(%f, {relu}) {{hook: \"{hook}\"}}) {{hook: \"lm_head.output\"}} as \"x\" }}\n",
            ids(2, 70, 0)
        );
        edits.push(text(&format!("spliced {hook}"), &made, llama()));
    }
    for case in &edits {
        std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{error}"));
        let engine = Ort::new(runtime.clone(), Some(2)).unwrap_or_else(|error| panic!("{error}")).with_profile(&folder);
        if case.name.starts_with("spliced") {
            let plan = schedule(
                &case.program,
                &Driven::new(Ort::new(runtime.clone(), Some(1)).unwrap_or_else(|error| panic!("{error}"))).target(),
            );
            let lanes = plan.unwrap_or_else(|error| panic!("{error}")).lanes;
            let chains = lanes.iter().flat_map(|lane| &lane.writes).filter(|write| matches!(write.edit, Some(Edit::Chain(_))));
            assert_eq!(chains.count(), 1, "{}", case.name);
        }
        let (planned, ..) = run(case, engine, Strategy::default());
        let mut counted: BTreeMap<Product, u64> = BTreeMap::new();
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{error}")) {
            let path = entry.unwrap_or_else(|error| panic!("{error}")).path();
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{error}"));
            let events: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let kernels = events.iter().filter(|event| {
                event["args"]["op_name"] == "MatMul" && event["name"].as_str().is_some_and(|name| name.ends_with("_kernel_time"))
            });
            for event in kernels {
                // Packed weights are not among the inputs; their columns are those of the result.
                let shape = |of: &str| -> Vec<u64> {
                    let first = event["args"][of].as_array().and_then(|shapes| shapes.first());
                    let shape = first.and_then(|types| types.as_object()?.values().next()?.as_array());
                    shape.unwrap_or_else(|| panic!("{event}")).iter().filter_map(|size| size.as_u64()).collect()
                };
                *counted.entry(product(&shape("input_type_shape"), &shape("output_type_shape"))).or_default() += 1;
            }
        }
        std::fs::remove_dir_all(&folder).unwrap_or_else(|error| panic!("{error}"));
        compare(&case.name, &planned, &counted);
    }
}

/// Every strategy is counted exactly at the boundary.
#[test]
fn bytes_are_those_that_cross() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    for seed in 100..140 {
        let program = sessions::program(seed);
        let case = Case { name: format!("session {seed}"), program: program.verified(), handles: program.handles };
        let [best, written] = [Strategy::default(), Strategy::AS_WRITTEN].map(|strategy| run(&case, Rten::new(Some(1)), strategy).0);
        assert!(best.total.tokens <= written.total.tokens, "{}", case.name);
    }
}

/// Within 15 %: of what the heap holds beyond what was there at the first call, engines aside.
#[test]
fn the_peak_of_memory_is_the_planned_one() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let (clean, corrupt) = (ids(64, 100, 0), ids(64, 100, 1));
    let save =
        |hook: &str| format!("graph @x models {{ m: \"m\" }} {{ save read(forward({clean}) {{model: m}}) {{hook: \"{hook}\"}} as \"x\" }}");
    let mut cases = vec![
        text("logits", &save("lm_head.output"), llama()),
        text("early", &save("model.layers.0.output"), llama()),
        text("pattern", &save("model.layers.1.self_attn.pattern"), llama()),
        text("odd", &save("head.output"), odd()),
        text("sweep", &sweep(2, &clean, &corrupt, 0), llama()),
        text("late sweep", &sweep(2, &clean, &corrupt, 70), llama()),
    ];
    if let Ok(handle) = Model::open("smollm2").and_then(|model| model.handle()) {
        cases.push(text("smollm2", &sweep(30, &ids(1, 60, 0), &ids(1, 60, 1), 55), &handle));
        cases.push(text("smollm2 logits", &save("lm_head.output").replace(&clean, &ids(2, 100, 0)), &handle));
    }
    let mut wrong = vec![];
    for case in &cases {
        for strategy in [Strategy::default(), Strategy::WHOLE_SEQUENCES] {
            let (planned, seen, outcome) = run(case, Rten::new(Some(2)), strategy);
            let counted = PEAK.load(Relaxed) - seen.before.load(Relaxed);
            drop(outcome);
            let off = planned.peak_bytes as f64 / counted as f64 - 1.0;
            println!("{}: planned {} counted {counted}, {:+.1} %", case.name, planned.peak_bytes, off * 100.0);
            if off.abs() > 0.15 {
                wrong.push(format!("{}: planned {} counted {counted}: {:+.1} %", case.name, planned.peak_bytes, off * 100.0));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Sessions are made once for operations, whatever these are given, and kept.
#[cfg(feature = "ort")]
#[test]
fn what_was_compiled_is_kept() {
    use irc::{
        backends::ort::{Ort, runtime::Runtime},
        ort::{Target, library_or_setup},
    };
    // Profiles of sessions that share threads with others are not to be had.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let found = library_or_setup(Target::Cpu, &mut |_| {});
    let Ok(path) = found.map_err(|error| eprintln!("SKIPPED: ONNX Runtime is not here: {error}")) else { return };
    let runtime = Runtime::load(&path, Some(2)).unwrap_or_else(|error| panic!("{error}"));
    let folder = Folder::new();
    let ort = Ort::new(runtime, Some(2)).unwrap_or_else(|error| panic!("{error}")).with_profile(&folder.0);
    let engine = Driven::new(ort);
    let layers = |threshold: f32| {
        let mut written = String::from("graph @layers models { m: \"m\" } {\n  %f0 = forward([[3, 1, 4, 1, 5]]) {model: m}\n");
        for layer in 0..2 {
            let hook = format!("model.layers.{layer}.mlp.output");
            written += &format!(
                "  %f{0} = write(%f{layer}, maximum(read(%f{layer}) {{hook: \"{hook}\"}}, {threshold:?})) {{hook: \"{hook}\"}}\n",
                layer + 1
            );
        }
        text("layers", &(written + "  save read(%f2) {hook: \"lm_head.output\"} as \"logits\"\n}"), llama())
    };
    engine.load(llama()).unwrap_or_else(|error| panic!("{error}"));
    let loaded = folder.files();
    let ran = |case: &Case| engine.run(&case.program, &case.handles, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    let first = ran(&layers(0.25));
    assert_eq!(folder.files(), loaded + 2, "one session for each layer");
    let again = ran(&layers(0.25));
    let other = ran(&layers(-0.25));
    assert_eq!(folder.files(), loaded + 2, "the same operations on other values");
    same_bits(&first, &again).unwrap_or_else(|error| panic!("{error}"));
    assert!(same_bits(&first, &other).is_err());
}

/// A folder for profiles, of which each session writes one.
#[cfg(feature = "ort")]
struct Folder(std::path::PathBuf);

#[cfg(feature = "ort")]
impl Folder {
    fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("irc-splices-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("there is room");
        Folder(path)
    }

    fn files(&self) -> usize {
        let names = |path: &std::path::Path| std::fs::read_dir(path).expect("the folder is ours").count();
        names(&self.0)
    }
}

#[cfg(feature = "ort")]
impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
