//! Random programs as text, as CBOR and in their canonical form are the same programs: they read back, verify, and give the
//! same bits on the reference. What engines make of them is in `tests/conformance.rs`.

use std::sync::{Arc, Mutex};

use irc::{
    backends::{Backend, Event, Handles, conformance, host::Functions, reference::Reference},
    ir::{
        canonical::{canonical, content_hash},
        cbor,
        diagnostic::Source,
        eval::Value,
        graph::Graph,
        infer::Models,
        random::{self, Config, program},
        text::{parse, print},
        types::Name,
        verify::{Verified, verify},
    },
};

fn handles() -> Handles {
    [("m", conformance::llama()), ("a second name", conformance::llama()), ("odd", conformance::odd())]
        .map(|(name, handle)| (Name::from(name), handle.clone()))
        .into()
}

/// The models under the names that a program has for them. Random programs find them by their names.
fn named<T>(graph: &Graph, of: impl Fn(&Name) -> T) -> impl Iterator<Item = (Name, T)> {
    graph.models.iter().map(move |decl| (decl.name.clone(), of(&decl.reference)))
}

fn verified(seed: u64, graph: Graph, handles: &Handles) -> Verified {
    let models: Models = named(&graph, |name| handles[name].spec.clone()).collect();
    verify(graph, &models).unwrap_or_else(|errors| panic!("program {seed}: {errors}"))
}

fn read(seed: u64, text: &str) -> Graph {
    let read = parse(text).into_result();
    read.unwrap_or_else(|errors| panic!("program {seed}: {}", errors.render(&Source::new("printed", text), false)))
}

#[test]
fn programs_read_back() {
    let handles = handles();
    let models: Models = handles.iter().map(|(name, handle)| (name.clone(), handle.spec.clone())).collect();
    for seed in 0..2_000 {
        let graph = program(seed, &models, &Config::default());
        let plain = print(&graph, None);
        assert_eq!(read(seed, &plain), graph, "program {seed}:\n{plain}");
        let again = cbor::decode(&cbor::encode(&graph)).unwrap_or_else(|error| panic!("program {seed}: {error}"));
        assert_eq!(again, graph, "program {seed}");
        // Names and all.
        assert_eq!(print(&again, None), plain, "program {seed}");
        let types = verified(seed, graph.clone(), &handles);
        let typed = print(&graph, Some(types.types()));
        let again = read(seed, &typed);
        assert_eq!(again, graph, "program {seed}:\n{typed}");
        // Types that were printed are claims, and true ones.
        verified(seed, again.clone(), &handles);
        assert_eq!(content_hash(&again), content_hash(&graph), "program {seed}");
    }
}

/// All that a program shows: logs and calls that have effects, saves, and how it ends.
type Shown = (Vec<(String, Vec<Value>)>, Vec<(Name, Value)>, Option<Option<Name>>);

fn shown(program: &Verified, handles: &Handles) -> Shown {
    let events = Arc::new(Mutex::new(vec![]));
    let log = events.clone();
    let mut host = Functions::new(move |Event::Log { label, value }| log.lock().unwrap().push((format!("{label:?}"), vec![value])));
    for (effects, names) in random::FUNCTIONS.iter().enumerate() {
        for name in *names {
            let events = events.clone();
            host.add(name, move |operands| {
                if effects == 1 {
                    events.lock().unwrap().push((name.to_string(), operands.to_vec()));
                }
                random::call(name, operands)
            });
        }
    }
    let handles: Handles = named(program.graph(), |name| handles[name].clone()).collect();
    let outcome = Reference.run_for(program, &handles, &mut host).unwrap_or_else(|error| panic!("{error}"));
    drop(host);
    let events = std::mem::take(&mut *events.lock().unwrap());
    (events, outcome.saves, outcome.stopped.map(|stopped| stopped.reason))
}

#[test]
fn programs_mean_the_same_however_they_are_written() {
    let handles = handles();
    let models: Models = handles.iter().map(|(name, handle)| (name.clone(), handle.spec.clone())).collect();
    let (mut stopped, mut events) = (0, 0);
    for seed in 0..150 {
        let graph = program(seed, &models, &Config::default());
        let expected = shown(&verified(seed, graph.clone(), &handles), &handles);
        stopped += usize::from(expected.2.is_some());
        events += expected.0.len();
        for form in [read(seed, &print(&graph, None)), cbor::decode(&cbor::encode(&graph)).unwrap(), canonical(&graph)] {
            let found = shown(&verified(seed, form.clone(), &handles), &handles);
            let alike = |a: &[Value], b: &[Value]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b));
            let logs = expected.0.iter().zip(&found.0).all(|(a, b)| a.0 == b.0 && alike(&a.1, &b.1));
            let saves = expected.1.iter().zip(&found.1).all(|(a, b)| a.0 == b.0 && same(&a.1, &b.1));
            let counts = (expected.0.len(), expected.1.len(), &expected.2) == (found.0.len(), found.1.len(), &found.2);
            assert!(logs && saves && counts, "program {seed}\n{}\n{}", print(&graph, None), print(&form, None));
        }
    }
    assert!(stopped > 0 && events > 100, "{stopped} programs stop, {events} events");
}

/// The same bits; what is opaque is another value in each run.
fn same(a: &Value, b: &Value) -> bool {
    matches!((a, b), (Value::Opaque(_), Value::Opaque(_))) || a.same_bits(b)
}
