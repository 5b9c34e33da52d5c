//! The text form: what is printed reads back, and no text makes the parser panic. What its messages say is in
//! `tests/cases/parse`, which the workspace's `tests/cases.rs` runs.

use irc_ir::{
    diagnostic::{Diagnostics, Source, Span},
    graph::{Graph, MAX_LOOP_NESTING, NodeId},
    text::{Style, parse, print, print_with},
    types::Type,
    verify::Types,
};
use proptest::prelude::*;

#[allow(dead_code)] // Each test file uses some of it.
mod strategies;
use strategies::{graph, ty};

/// The claimed types, without their places.
fn claims(graph: &Graph) -> Vec<(NodeId, Type)> {
    graph.written_types().iter().map(|(id, ty, _)| (*id, ty.clone())).collect()
}

fn read(text: &str) -> Graph {
    parse(text).into_result().unwrap_or_else(|errors| panic!("{}", errors.render(&Source::new("printed", text), false)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn printed_graphs_read_back(graph in graph(), inline: bool, align: bool) {
        let printed = print_with(&graph, None, Style { inline, align });
        let again = read(&printed);
        prop_assert_eq!(&again, &graph, "{}", printed);
        prop_assert_eq!(claims(&again), claims(&graph), "{}", printed);
        prop_assert_eq!(print_with(&again, None, Style { inline, align }), printed);
        let mut taken = std::collections::HashSet::new();
        for (id, _) in graph.nodes().filter(|(id, _)| graph.label(*id).is_some()) {
            let (label, read) = (graph.label(id).unwrap(), again.label(id).unwrap());
            let kept = read == label || read.starts_with(&format!("{label}_"));
            prop_assert!(kept, "{} became {}", label, read);
            prop_assert!(taken.insert(read.clone()));
        }
    }

    #[test]
    fn given_types_are_printed(graph in graph(), ty in ty()) {
        let types = Types { nodes: vec![ty; graph.len()], ..Types::default() };
        let again = read(&print_with(&graph, Some(&types), Style { inline: false, align: true }));
        prop_assert_eq!(&again, &graph);
        prop_assert_eq!(again.written_types().len(), graph.len());
        prop_assert!(again.written_types().iter().all(|(_, written, _)| *written == types.nodes[0]));
    }
}

const SAMPLE: &str = r#"// A comment.
graph @patch models { m: "smollm2", "b c": "llama@bf16" } {
  %a = forward("The Eiffel \u{1f600} \"Tower\"") {model: m}
  %h = read(%a) {hook: "model.layers.29.output"}            : tensor<1x9x576xf32>
  %x = slice(%h) {dim: 1, start: -1, end: none}             : tensor<Bx(2*B*T-1)xbf16>
  %b = forward([[1, 2, 3], [4, 5, 6]]) {model: m}           : forward<m, 2x3>
  %"w 1" = write(%b, update(%h, %x) {dim: 1}) {hook: "model.layers.1.output"}
  %7 = topk(%x) {k: 5}                                      : (tensor<Bx5xf32>, tensor<Bx5xi64>)
  %c = const {value: f16[[1.5, nan(0x7e01)], [-inf, 1e-5]]}
  %i = input {name: "tokens", dtype: i64, shape: [B, T, 64, 2*B*T-1]}
  %e = tensor<0x3xu8>()
  %n = rms_norm(%x, get(%7) {index: 0}) {eps: 1e-5}
  log "hello", argmax(select(true, %n, 2.5)) {dim: none, keepdim: true}
  %r = loop(%b, %x) {trip: 4} (%i, %f: forward<m, 1xT after P>, %x) {
    %g = extend(%f, %i)
    do loop(%x) {trip: 2} (%j, %y) {
      log "inside", %y
    }
    until eq(%i, 0)
    yield %g, %x
  } : (str, opaque)
  %s = do call(%r, 1) {name: "step", returns: tensor<1xi64>} if true else %c
  stop "why" if false
  save sum(%"w 1") {dims: [0, -1]} as "t2" if eq(%s, 3)
}
"#;

#[test]
fn no_text_panics() {
    // A linear congruence is random enough, and the same everywhere.
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below.max(1)
    };
    assert_eq!(parse(SAMPLE).diagnostics, vec![]);
    let pieces: Vec<char> = "{}()[]<>,:=%@\"\\/-.x+*0129aTé“\n\0#;".chars().chain(SAMPLE.chars()).collect();
    let words = [
        "graph",
        "save",
        "log",
        "tensor<",
        "f16[",
        "nan(0x",
        "99999999999999999999",
        "%a = ",
        "list<",
        "[[",
        "const {value: ",
        "1e999",
        "models {",
        "do call() {name: \"f\"}",
        "loop(%x) {trip: 2} (%i, %x) {",
        "yield",
        "until %x",
        "if %x else",
    ];
    for round in 0..6_000 {
        let mut text: Vec<char> = SAMPLE.chars().collect();
        if round % 4 == 0 {
            text.truncate(random(text.len()));
        }
        for _ in 0..1 + random(4) {
            let at = random(text.len() + 1);
            match random(4) {
                0 if at < text.len() => drop(text.remove(at)),
                1 if at < text.len() => text[at] = pieces[random(pieces.len())],
                2 => drop(text.splice(at..at, words[random(words.len())].chars())),
                _ => text.insert(at, pieces[random(pieces.len())]),
            }
        }
        let text: String = text.into_iter().collect();
        let parsed = parse(&text);
        // What was read is a graph, whatever else: it can be printed and read.
        assert_eq!(read(&print(&parsed.graph, None)), parsed.graph, "{text}");
        if round % 10 == 0 {
            Diagnostics(parsed.diagnostics).render(&Source::new("sample.ig", text), false);
        }
    }
}

#[test]
fn depth_and_size_have_limits() {
    let body = |body: &str| format!("graph @g {{\n{body}\n}}");
    let deep = 100_000;
    for text in [
        body(&format!("%x = {}1{}", "neg(".repeat(deep), ")".repeat(deep))),
        body(&format!("%x = {}1{}", "[".repeat(deep), "]".repeat(deep))),
        body(&format!("%x = 1 : {}str{}", "list<".repeat(deep), ">".repeat(deep))),
        body(&format!("%x = 1 : {}str{}", "(".repeat(deep), ")".repeat(deep))),
        body(&format!("%x = reshape(1) {{shape: [{}]}}", "T*".repeat(deep))),
        body(&format!("%x = reshape(1) {{shape: [{}1]}}", "T+".repeat(deep))),
    ] {
        let codes: Vec<_> = parse(&text).diagnostics.iter().map(|diagnostic| diagnostic.code.name()).collect();
        assert_eq!(codes, ["E4001"], "{}", &text[..60]);
    }
    let nested = |depth: usize| body(&format!("{}{}", "do loop() {trip: 1} (%i) {\n".repeat(depth), "}\n".repeat(depth)));
    assert_eq!(read(&nested(MAX_LOOP_NESTING)).effects.len(), 1);
    for depth in [MAX_LOOP_NESTING + 1, deep] {
        let codes: Vec<_> = parse(&nested(depth)).diagnostics.iter().map(|diagnostic| diagnostic.code.name()).collect();
        assert_eq!(codes, ["E4001"]);
    }
    let most = body(&format!("%x = {}1{}", "neg(".repeat(200), ")".repeat(200)));
    assert_eq!(read(&most).len(), 201);
    let wrong = parse(&body(&"%x = foo()\n".repeat(1000))).diagnostics;
    assert_eq!(wrong.len(), 100);
    assert!(wrong[99].notes[0].contains("is not read"));
    let huge = "tensor<1099511627776x1099511627776x1099511627776xf32>()";
    assert_eq!(parse(&body(&format!("%x = {huge}"))).diagnostics.len(), 1);
}

#[test]
fn spans_cover_calls_and_statements() {
    let text = "graph @g {\n  %x = add(neg(1), 2.5) : tensor<f32>\n  save sqrt(%x) as \"a\"\n}";
    let graph = read(text);
    let covered = |span: &Span| match *span {
        Span::Text { start, end } => &text[start as usize..end as usize],
        _ => "",
    };
    let nodes: Vec<&str> = graph.nodes().map(|(id, _)| covered(graph.span(id))).collect();
    assert_eq!(nodes, ["1", "neg(1)", "2.5", "add(neg(1), 2.5)", "sqrt(%x)"]);
    assert_eq!(covered(&graph.effects[0].span), "save sqrt(%x) as \"a\"");
    assert_eq!(covered(&graph.written_types()[0].2), "tensor<f32>");
}
