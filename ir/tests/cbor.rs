//! The binary form: what is written reads back, and no bytes make the reader panic or take memory that they do not fill.

use irc_ir::{
    cbor::{decode, decode_within, encode},
    code::Code,
    diagnostic::{Diagnostic, Span},
    graph::{Body, Effect, EffectKind, Graph, NodeId},
    op::Op,
    types::{DType, Dim, Name, Type},
    verify::Limits,
};
use proptest::prelude::*;

#[allow(dead_code)] // Each test file uses some of it.
mod strategies;
use strategies::graph;

/// What equality does not see: names and claimed types, those in bodies included.
fn beside(graph: &Graph) -> String {
    let labels: Vec<Option<&Name>> = graph.nodes().map(|(id, _)| graph.label(id)).collect();
    let claims: Vec<(NodeId, &Type)> = graph.written_types().iter().map(|(id, ty, _)| (*id, ty)).collect();
    let bodies: Vec<String> = graph.bodies().map(|(_, body)| beside(body.graph())).collect();
    format!("{labels:?} {claims:?} {bodies:?}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn graphs_read_back(graph in graph()) {
        let bytes = encode(&graph);
        let again = decode(&bytes).unwrap();
        prop_assert_eq!(&again, &graph);
        prop_assert_eq!(beside(&again), beside(&graph));
        prop_assert_eq!(encode(&again), bytes);
    }

    /// Cut anywhere and with any bytes changed: a diagnostic, or another graph.
    #[test]
    fn damaged_bytes_are_diagnostics(
        graph in graph(),
        cut in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let bytes = encode(&graph);
        prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_err());
        let mut changed = bytes;
        for (at, byte) in changes {
            let at = at.index(changed.len());
            changed[at] = byte;
        }
        match decode(&changed) {
            // What was read is a graph like any other.
            Ok(graph) => prop_assert_eq!(decode(&encode(&graph)).unwrap(), graph),
            Err(error) => prop_assert!(matches!(error.code, Code::E0014 | Code::E0015 | Code::E0004 | Code::E0005 | Code::E3007 | Code::E4001)),
        }
    }
}

/// CBOR by hand: heads of one byte for short items.
fn text(text: &str) -> Vec<u8> {
    [&[0x60 | text.len() as u8], text.as_bytes()].concat()
}

fn array(items: &[Vec<u8>]) -> Vec<u8> {
    [vec![0x80 | items.len() as u8], items.concat()].concat()
}

fn map(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let pairs = items.iter().flat_map(|(key, value)| [text(key), value.clone()].concat());
    [0xa0 | items.len() as u8].into_iter().chain(pairs).collect()
}

fn file(version: u8, least: u8, graph: Vec<u8>) -> Vec<u8> {
    [vec![0xd9, 0xd9, 0xf7], array(&[text("irc.graph"), vec![version], vec![least], graph])].concat()
}

fn name() -> (&'static str, Vec<u8>) {
    ("name", text("g"))
}

fn with(key: &'static str, value: Vec<u8>) -> Vec<u8> {
    file(1, 1, map(&[name(), (key, value)]))
}

/// A file whose only node has this constant.
fn constant(value: &[u8]) -> Vec<u8> {
    with("nodes", array(&[array(&[text("const"), array(&[]), map(&[("value", value.to_vec())])])]))
}

const HUGE: [u8; 8] = [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/// A head that claims 2^63 - 1 of something.
fn huge(major: u8) -> Vec<u8> {
    [[major << 5 | 27].as_slice(), &HUGE].concat()
}

#[test]
fn what_is_wrong_is_said() {
    let node = |op: &str, operands: Vec<u8>| array(&[text(op), operands]);
    let tuple = || node("tuple", array(&[]));
    let call = |returns: Vec<u8>| array(&[text("call"), array(&[]), map(&[name(), ("returns", returns)])]);
    let deep_type: Vec<u8> = (0..100_000).flat_map(|_| [vec![0x82], text("list")].concat()).chain(text("str")).collect();
    let a_loop = |body: Vec<u8>| array(&[text("loop"), array(&[]), map(&[("trip", vec![1]), ("body", body)])]);
    let deep_loop = (0..40).fold(map(&[name()]), |body, _| map(&[name(), ("nodes", array(&[a_loop(body)]))]));
    let f32s = |shape: &[Vec<u8>], bytes: Vec<u8>| array(&[text("f32"), array(shape), bytes]);
    let cases: &[(&str, Vec<u8>, Code, &str)] = &[
        ("nothing", vec![], Code::E0015, "does not begin"),
        ("a text", b"graph @g { }".to_vec(), Code::E0015, "does not begin"),
        ("the tag alone", vec![0xd9, 0xd9, 0xf7], Code::E0015, "at byte 3"),
        ("CBOR of others", [vec![0xd9, 0xd9, 0xf7], array(&[text("png"), vec![1]])].concat(), Code::E0015, "\"irc.graph\""),
        ("a later format", file(9, 7, text("anything")), Code::E0014, "needs a reader of version 7"),
        ("more after it", [file(1, 1, map(&[name()])), vec![0]].concat(), Code::E0015, "the end is expected"),
        ("an unknown key", with("colour", vec![1]), Code::E0015, "a key of a graph"),
        ("a key twice", with("name", text("h")), Code::E0015, "each key of a graph once"),
        ("an unknown operation", with("nodes", array(&[node("frobnicate", array(&[]))])), Code::E0004, "`frobnicate`"),
        ("an operand after its user", with("nodes", array(&[tuple(), node("neg", array(&[vec![1]]))])), Code::E0015, "a node before"),
        ("no such result", with("results", array(&[vec![0]])), Code::E0015, "a node before"),
        ("no such label", with("labels", array(&[array(&[vec![3], text("x")])])), Code::E0015, "a node before"),
        (
            "no such guard",
            with("effects", array(&[array(&[text("stop"), array(&[]), map(&[("guard", array(&[vec![0]]))])])])),
            Code::E0015,
            "a node before",
        ),
        ("an unknown effect", with("effects", array(&[array(&[text("print"), array(&[])])])), Code::E0004, "`print`"),
        ("a field that is missing", with("effects", array(&[array(&[text("save"), array(&[])])])), Code::E0005, "no field `name`"),
        ("an attribute that is missing", with("nodes", array(&[node("const", array(&[]))])), Code::E0005, "no attribute `value`"),
        (
            "an unknown attribute",
            with("nodes", array(&[array(&[text("tuple"), array(&[]), map(&[("dim", vec![1])])])])),
            Code::E0005,
            "no attribute `dim`",
        ),
        ("too few elements", constant(&f32s(&[vec![2]], vec![0x44, 0, 0, 0, 0])), Code::E0015, "as many bytes"),
        ("no such type", with("effects", array(&[call(text("int"))])), Code::E0015, "a type"),
        ("deep types", with("effects", array(&[call(deep_type)])), Code::E4001, "nested more than 200"),
        ("a body without parameters", with("nodes", array(&[a_loop(map(&[]))])), Code::E3007, "no parameters"),
        ("deep loops", file(1, 1, deep_loop), Code::E4001, "nested more than 16"),
        (
            "a wide number",
            with("nodes", array(&[array(&[text("index"), array(&[]), map(&[("dim", [vec![0x1b], vec![0xff; 8]].concat())])])])),
            Code::E0015,
            "",
        ),
        ("nodes that are claimed", with("nodes", huge(4)), Code::E0015, "the nodes"),
        ("keys that are claimed", file(1, 1, huge(5)), Code::E0015, "a graph"),
        ("a text that is claimed", file(1, 1, [vec![0xa1], huge(3)].concat()), Code::E0015, "a piece of"),
        ("elements that are claimed", constant(&f32s(&[huge(0)], huge(2))), Code::E0015, "a piece of"),
        ("no element that is huge", constant(&f32s(&[huge(0), vec![4], vec![0]], vec![0x40])), Code::E0015, "as many bytes"),
        ("a list without a length", with("nodes", vec![0x9f, 0xff]), Code::E0015, "the nodes"),
        ("no UTF-8", with("nodes", array(&[array(&[vec![0x61, 0xff], array(&[])])])), Code::E0015, "UTF-8"),
    ];
    for (what, bytes, code, message) in cases {
        let error: Diagnostic = decode(bytes).expect_err(what);
        assert!(error.code == *code && error.message.contains(message), "{what}: {error:?}");
    }
    // The name twice is the same key; `with` writes it first.
    assert!(decode(&with("nodes", array(&[tuple()]))).is_ok());
    // What a later version adds is skipped where it says that this reader may do so, and only there.
    let later = map(&[name(), ("colour", array(&[text("red"), map(&[("x", vec![1])]), vec![0xc1, 0x41, 0x00]]))]);
    assert_eq!(decode(&file(2, 1, later.clone())), Ok(Graph::new("g")));
    assert_eq!(decode(&file(1, 1, later)).unwrap_err().code, Code::E0015);
}

#[test]
fn limits_hold() {
    let mut graph = Graph::new("");
    graph.add(Op::Param { index: 0, ty: None }, [], Span::None);
    for _ in 0..9 {
        graph.add(Op::Tuple {}, [], Span::None);
    }
    let mut outside = Graph::new("g");
    outside.add(Op::Loop { trip: 1, body: Body::new(graph).unwrap() }, [], Span::None);
    let bytes = encode(&outside);
    let within = |nodes| decode_within(&bytes, Limits { nodes, ..Limits::default() });
    assert_eq!(within(11), Ok(outside.clone()));
    assert_eq!(within(10).unwrap_err().code, Code::E4001);
}

/// The bytes of a small program, so that a change of the format is seen where it is made.
#[test]
fn the_format_is_fixed() {
    let mut graph = Graph::new("g");
    let x = graph.add(Op::Const { value: (&irc_ir::tensor::Tensor::new([2], vec![1i32, -1])).into() }, [], Span::None);
    let y = graph.add(Op::Slice { dim: -1, start: Some(1), end: None, step: 1 }, [x], Span::None);
    graph.set_label(y, "y");
    graph.write_type(y, Type::tensor(DType::I32, [Dim::known(1)]), Span::None);
    graph.effects.push(Effect::new(EffectKind::Save { name: "a".into() }, [y], Span::None));
    let elements = [vec![0x48], vec![1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]].concat();
    let expected = file(
        1,
        1,
        map(&[
            name(),
            (
                "nodes",
                array(&[
                    array(&[text("const"), array(&[]), map(&[("value", array(&[text("i32"), array(&[vec![2]]), elements]))])]),
                    array(&[text("slice"), array(&[vec![0]]), map(&[("dim", vec![0x20]), ("start", vec![1])])]),
                ]),
            ),
            ("effects", array(&[array(&[text("save"), array(&[vec![1]]), map(&[("name", text("a"))])])])),
            ("labels", array(&[array(&[vec![1], text("y")])])),
            ("types", array(&[array(&[vec![1], array(&[text("tensor"), text("i32"), vec![1]])])])),
        ]),
    );
    assert_eq!(encode(&graph), expected);
}
