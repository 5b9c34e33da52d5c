//! What programs become. Each graph is also bound to token ids and verified.

use std::sync::Arc;

use irc_ir::{
    attr::{Literal, Reduction},
    code::Code,
    diagnostic::{Diagnostic, Span},
    graph::{EffectKind, Graph},
    infer::Models,
    model::{AttentionShape, ModelBuilder, ModelSpec},
    op::Op,
    tensor::Tensor,
    text::{parse, print},
    types::DType,
    verify::verify,
};

use super::*;

mod views;

const HEAD: &str = "lm_head.output";

fn layer(at: usize) -> String {
    format!("model.layers.{at}.output")
}

/// Two layers in the manner of Llama, 4 elements wide, 2 heads.
fn spec() -> Arc<ModelSpec> {
    let mut m = ModelBuilder::new("tiny", DType::F32, 16, 12);
    let tokens = m.tokens();
    let mut x = m.module("model.embed_tokens", tokens, |m, t| m.embedding("weight", t, 16, 4));
    for at in 0..2 {
        x = m.module(&format!("model.layers.{at}"), x, |m, x| {
            let attended = m.module("self_attn", x, |m, x| {
                let [q, k, v] = ["q_proj", "k_proj", "v_proj"].map(|name| m.projection(name, x, 4, 4));
                let shape = AttentionShape { heads: 2, kv_heads: 2, head_size: 2, scale: 0.7, rotary: None, causal: true, window: None };
                let z = m.attention(&format!("layers.{at}"), shape, q, k, v);
                m.projection("o_proj", z, 4, 4)
            });
            let x = m.add(x, attended);
            let y = m.projection("mlp", x, 4, 4);
            m.add(x, y)
        });
    }
    let x = m.rms_norm("model.norm", x, 4, 1e-5);
    let x = m.projection("lm_head", x, 4, 16);
    m.finish(x).expect("a model").into()
}

fn session() -> Session {
    Session::for_model("m", "tiny", spec())
}

fn show(graph: &Graph) -> String {
    print(graph, None)
}

/// The program, which must be right for prompts of nine tokens.
#[track_caller]
fn program(session: &Session) -> Graph {
    let graph = session.program().unwrap_or_else(|errors| panic!("{errors}"));
    let prompts: Vec<_> =
        graph.nodes().filter(|(_, node)| matches!(node.op, Op::Forward { .. })).map(|(_, node)| node.operands[0]).collect();
    let mut bound = graph.clone();
    for prompt in prompts {
        if let Op::Const { value: Literal::Str(_) } = graph.node(prompt).op {
            bound.set_op(prompt, Op::Const { value: (&Tensor::new([1, 9], (0..9).collect::<Vec<i64>>())).into() });
        }
    }
    let models: Models = [("m".into(), spec()), ("n".into(), spec())].into();
    if let Err(errors) = verify(bound, &models) {
        panic!("{}\n{errors}", show(&graph));
    }
    assert_eq!(parse(&show(&graph)).into_result().as_ref(), Ok(&graph), "what is printed reads back");
    assert!(graph.live().into_iter().all(|live| live), "nothing is dead:\n{}", show(&graph));
    graph
}

#[track_caller]
fn expect(session: &Session, lines: &str) {
    let shown = show(&program(session));
    let body = shown.lines().skip(1).take_while(|line| *line != "}").collect::<Vec<_>>().join("\n");
    let trim = |text: &str| text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    assert_eq!(trim(&body), trim(lines), "\n{shown}");
}

/// The only error of a session.
#[track_caller]
fn error(session: &Session) -> Diagnostic {
    let errors = session.program().expect_err("a mistake");
    assert_eq!(errors.0.len(), 1, "{errors}");
    errors.0[0].clone()
}

fn line(span: &Span) -> u32 {
    if let Span::Code(place) = span { place.line() } else { 0 }
}

#[test]
fn a_session_of_two_traces() {
    let session = session();
    let t1 = session.trace("The Eiffel Tower is in the city of");
    let hs = t1.hook("model.layers.1.output").slice(1, -1..);
    t1.hook("lm_head.output").argmax(-1).save("t1");
    let t2 = session.trace("Buckingham Palace is in the city of");
    t2.hook("model.layers.0.output").slice(1, -1..).set(&hs);
    t2.hook("lm_head.output").argmax(-1).save("t2");
    t2.hook("model.norm.output"); // nobody wants it
    expect(
        &session,
        r#"
        %0 = forward("The Eiffel Tower is in the city of") {model: m}
        %1 = read(%0) {hook: "lm_head.output"}
        %2 = argmax(%1) {dim: -1}
        save %2 as "t1"
        %3 = forward("Buckingham Palace is in the city of") {model: m}
        %4 = read(%3) {hook: "model.layers.0.output"}
        %5 = read(%0) {hook: "model.layers.1.output"}
        %6 = slice(%5) {dim: 1, start: -1}
        %7 = update(%4, %6) {dim: 1, start: -1}
        %8 = write(%3, %7) {hook: "model.layers.0.output"}
        %9 = read(%8) {hook: "lm_head.output"}
        %10 = argmax(%9) {dim: -1}
        save %10 as "t2"
        "#,
    );
}

#[test]
fn accesses_are_sorted_by_hook() {
    let session = session();
    let t = session.trace([1, 2, 3]);
    let logits = t.hook(HEAD);
    t.hook(layer(1)).mul_(2);
    t.hook(layer(0)).set(0.0);
    logits.save("logits");
    expect(
        &session,
        r#"
        %0 = forward([[1, 2, 3]]) {model: m}
        %1 = read(%0) {hook: "model.layers.0.output"}
        %2 = update(%1, 0.0) {dim: 0}
        %3 = write(%0, %2) {hook: "model.layers.0.output"}
        %4 = read(%3) {hook: "model.layers.1.output"}
        %5 = mul(%4, 2)
        %6 = write(%3, %5) {hook: "model.layers.1.output"}
        %7 = read(%6) {hook: "lm_head.output"}
        save %7 as "logits"
        "#,
    );
}

#[test]
fn writes_that_do_not_reach_a_read_are_not_needed_for_it() {
    let session = session();
    let t = session.trace([1, 2, 3]);
    t.hook("model.layers.0.self_attn.q").set(0.0);
    t.hook("model.layers.0.self_attn.k").save("k");
    expect(
        &session,
        r#"
        %0 = forward([[1, 2, 3]]) {model: m}
        %1 = read(%0) {hook: "model.layers.0.self_attn.k"}
        save %1 as "k"
        "#,
    );
}

#[test]
fn views_share_their_tensor_and_results_do_not() {
    let session = session();
    let t = session.trace([1, 2, 3]);
    let h = t.hook(layer(0));
    let (last, doubled) = (h.at((.., -1)), &h * 2.0);
    h.at((0, -1, ..2)).set([7.0, 8.0]);
    last.save("seen");
    doubled.save("not seen");
    h.save("all");
    expect(
        &session,
        r#"
        %0 = forward([[1, 2, 3]]) {model: m}
        %1 = read(%0) {hook: "model.layers.0.output"}
        %2 = index(%1) {dim: 0, index: 0}
        %3 = index(%2) {dim: 0, index: -1}
        %4 = update(%3, [7.0, 8.0]) {dim: 0, end: 2}
        %5 = update(%2, %4) {dim: 0, start: -1}
        %6 = update(%1, %5) {dim: 0, start: 0, end: 1}
        %7 = index(%6) {dim: 1, index: -1}
        save %7 as "seen"
        %8 = mul(%1, 2.0)
        save %8 as "not seen"
        save %6 as "all"
        "#,
    );
}

#[test]
fn transposed_and_reshaped_views_are_inverted() {
    let session = session();
    let t = session.trace("a prompt of unknown length");
    let pattern = t.hook("model.layers.0.self_attn.pattern");
    pattern.transpose(-1, -2).at((0, 1)).set(0.5);
    let heads = t.hook(layer(0)).reshape([1, -1, 2, 2]).unsqueeze(0);
    heads.at((Ellipsis, 1, 0)).add_(1.0);
    t.hook(HEAD).save("logits");
    expect(
        &session,
        r#"
        %0 = forward("a prompt of unknown length") {model: m}
        %1 = read(%0) {hook: "model.layers.0.self_attn.pattern"}
        %2 = transpose(%1) {dim0: -1, dim1: -2}
        %3 = index(%2) {dim: 0, index: 0}
        %4 = update(%3, 0.5) {dim: 0, start: 1, end: 2}
        %5 = update(%2, %4) {dim: 0, start: 0, end: 1}
        %6 = transpose(%5) {dim0: -1, dim1: -2}
        %7 = write(%0, %6) {hook: "model.layers.0.self_attn.pattern"}
        %8 = read(%7) {hook: "model.layers.0.output"}
        %9 = reshape(%8) {shape: [1, -1, 2, 2]}
        %10 = unsqueeze(%9) {dim: 0}
        %11 = index(%10) {dim: -2, index: 1}
        %12 = index(%11) {dim: -1, index: 0}
        %13 = add(%12, 1.0)
        %14 = unsqueeze(%13) {dim: -1}
        %15 = update(%11, %14) {dim: -1, start: 0, end: 1}
        %16 = unsqueeze(%15) {dim: -2}
        %17 = update(%10, %16) {dim: -2, start: 1, end: 2}
        %18 = index(%17) {dim: 0, index: 0}
        %19 = reshape(%18) {shape: [1, -1, 4]}
        %20 = write(%7, %19) {hook: "model.layers.0.output"}
        %21 = read(%20) {hook: "lm_head.output"}
        save %21 as "logits"
        "#,
    );
}

#[test]
fn a_reshape_over_two_unknown_sizes_cannot_be_set() {
    let session = session();
    let t = session.trace("unknown");
    t.hook("model.layers.0.self_attn.pattern").reshape([2, -1]).set(0.0);
    assert_eq!(error(&session).code, Code::E1005);
    let session = self::session();
    let t = session.trace([1, 2, 3]);
    t.hook("model.layers.0.self_attn.pattern").reshape([2, -1]).set(0.0);
    t.hook(HEAD).save("logits");
    assert!(show(&program(&session)).contains("{shape: [1, 2, 3, 3]}"));
}

#[test]
fn values_are_broadcast_to_what_they_replace() {
    let session = session();
    let t = session.trace("a prompt");
    let h = t.hook(layer(0));
    let row = session.tensor([1.0, 2.0, 3.0, 4.0]);
    h.at((.., 3)).set(&row); // fewer dimensions
    h.at((.., .., 3)).set(row.at(0)); // a scalar
    h.at((0, 5)).set(row.reshape([1, 1, 4])); // leading ones
    h.at((.., 1..=2)).set(row.cast(DType::F64)); // cast
    h.at((.., every(.., 4))).set([[1.0, 2.0, 3.0, 4.0]]);
    h.at((0, 0, 0)).set(7);
    h.save("h");
    let shown = show(&program(&session));
    assert_eq!(shown.matches("= update").count(), 9, "{shown}");
    assert!(!shown.contains("unsqueeze"), "{shown}");
    assert!(shown.contains("{dim: 1, step: 4}"), "{shown}");
}

#[test]
fn computed_tensors_can_be_set_too() {
    let session = session();
    let t = session.trace([1, 2, 3]);
    let h = t.hook(layer(0));
    let x = &h + 1;
    let (before, view) = (&x * 1.0, x.at((.., 0)));
    x.set(0.0);
    x.at((.., 0, 0)).set(5.0);
    let total = h.sum(..);
    total.set(3);
    view.save("view");
    before.save("before");
    total.save("total");
    let graph = program(&session);
    assert!(graph.nodes().all(|(_, node)| !matches!(node.op, Op::Write { .. })), "no hook was set");
    let of = |at: usize| graph.node(graph.node(graph.effects[at].operands[0]).operands[0]).op.clone();
    assert!(matches!(of(0), Op::Update { .. }) && matches!(of(1), Op::Add {}) && matches!(of(2), Op::Update { .. }));
}

#[test]
fn what_is_equal_in_type_is_written_as_it_is() {
    let session = session();
    // Equal prompts have equal lengths; of different ones nobody knows.
    let (a, b, c) = (session.trace("one"), session.trace("one"), session.trace("two"));
    b.hook(layer(0)).set(a.hook(layer(0)));
    c.hook(layer(0)).set(a.hook(layer(0)));
    b.hook(HEAD).save("b");
    c.hook(HEAD).save("c");
    let shown = show(&program(&session));
    assert_eq!((shown.matches("= write").count(), shown.matches("= update").count()), (2, 1), "{shown}");
}

#[test]
fn a_value_of_a_later_hook_needs_a_second_trace() {
    let session = session();
    let t = session.trace([1, 2, 3]);
    let late = t.hook(layer(1));
    let value = late.mean(keep(-1)) * 0.5;
    let x = t.hook(layer(0)) + 0.0;
    x.set(value); // fine: x becomes later
    t.hook(layer(0)).set(&x);
    let set = line!() - 1;
    t.hook(HEAD).save("fine");
    let error = error(&session);
    assert_eq!(error.code, Code::E2007, "{error}");
    assert_eq!(error.labels.iter().map(|label| line(&label.span)).collect::<Vec<_>>(), [set, set - 4]);
    assert!(error.help[0].contains("second trace"), "{error}");
}

#[test]
fn values_of_later_traces_and_other_sessions_are_out_of_reach() {
    let (session, other) = (session(), session());
    let (t1, t2) = (session.trace([1]), session.trace([2]));
    let value = t2.hook(layer(0));
    t1.hook(layer(1)).set(&value);
    assert_eq!(error(&session).code, Code::E3003);
    assert_eq!(error(&session).labels.len(), 4);

    let t = other.trace([3]);
    (t.hook(layer(0)) + value).sum(..).save("sum");
    t.hook(layer(1)).set(t1.hook("nothing"));
    let error = error(&other);
    assert!(error.code == Code::E3003 && error.message.contains("another session"), "{error}");
}

#[test]
fn misspelt_names_point_to_their_line_and_poison_what_follows() {
    let session = session();
    let t = session.trace([1, 2, 3]);
    let wrong = t.hook("model.layers.0.ouptut");
    let at = line!() - 1;
    t.hook(layer(0)).set((wrong.at((.., -1)) * 2.0).softmax(-1));
    wrong.set(0.0);
    wrong.at((Ellipsis, Ellipsis)).save("wrong");
    session.trace(&wrong).hook("nothing").log("wrong");
    let error = error(&session);
    assert_eq!((error.code, line(&error.labels[0].span)), (Code::E2001, at));
    assert!(error.help[0].contains("`model.layers.0.output`"), "{error}");

    let session = self::session();
    let t = session.trace([1, 2, 3]);
    t.apply("lm_haed", t.hook(layer(0)));
    t.apply("model.layers.0", t.hook(layer(0)));
    t.hook(layer(0)).at((Ellipsis, Ellipsis));
    t.hook(layer(0)).slice(0, (1, 2));
    t.hook(layer(0)).argmax([0, 1]);
    t.hook(layer(0)).argmin([0, 1]);
    session.trace(vec![vec![1, 2], vec![3]]).hook("nothing");
    let empty = Session::new();
    empty.trace([1]).hook("nothing").save("nothing");
    assert_eq!(self::error(&empty).code, Code::E2002);
    let model = session.add_model("m", "again", spec());
    model.trace([1]).hook("nothing");
    let codes: Vec<Code> = session.program().unwrap_err().0.iter().map(|error| error.code).collect();
    assert_eq!(codes, [Code::E2005, Code::E1008, Code::E1008, Code::E1008, Code::E1008, Code::E2004, Code::E0003]);
}

#[test]
fn errors_of_the_verifier_point_to_the_line() {
    let session = session();
    let t = session.trace([1, 2, 3]);
    (t.hook(layer(0)) + t.hook(HEAD)).save("sum");
    let at = line!() - 1;
    let models: Models = [("m".into(), spec())].into();
    let errors = verify(session.program().unwrap(), &models).unwrap_err();
    assert_eq!((errors.0[0].code, line(&errors.0[0].labels[0].span)), (Code::E1003, at), "{errors}");
}

#[test]
fn effects_are_ordered_by_trace_and_hook_and_program() {
    let session = session();
    session.log("start");
    let t1 = session.trace([1]);
    t1.hook(HEAD).save("head");
    t1.log("after head");
    t1.hook(layer(0)).log("layer");
    t1.hook(layer(0)).save("layer");
    session.tensor(1.5).save("constant");
    session.log("between");
    let t2 = session.trace([2]);
    t2.hook(layer(1)).save("second");
    t1.hook(layer(1)).save("late line");
    (t2.hook(layer(0)) - t1.hook(HEAD).sum(..)).save("both");
    session.log_as("end", "of all");
    let graph = program(&session);
    let names: Vec<String> = graph
        .effects
        .iter()
        .map(|effect| match (&effect.kind, &graph.node(effect.operands[0]).op) {
            (_, Op::Const { value: Literal::Str(text) }) => format!("log {text}"),
            (EffectKind::Save { name }, _) => name.to_string(),
            (EffectKind::Log { label }, _) => format!("log {}", label.as_deref().unwrap_or_default()),
            (other, _) => panic!("nobody recorded {other:?}"),
        })
        .collect();
    let order = [
        "log start",
        "log layer",
        "layer",
        "late line",
        "head",
        "log after head",
        "constant",
        "log between",
        "both",
        "second",
        "log of all",
    ];
    assert_eq!(names, order);
}

#[test]
fn a_save_shows_the_value_at_its_line() {
    let session = session();
    let t = session.trace([1, 2, 3]);
    let h = t.hook(layer(0)).save("before");
    h.set(0.0);
    h.save("after");
    let graph = program(&session);
    let op = |at: usize| &graph.node(graph.effects[at].operands[0]).op;
    assert!(matches!(op(0), Op::Read { .. }) && matches!(op(1), Op::Update { .. }));
}

#[test]
fn operators_and_operands() {
    let session = session();
    let t = session.trace([1, 2, 3]);
    let mut h = t.hook(layer(0));
    let x = 1.0 - (2.0 * &h) / 3 + &h * &h - 0.5f32 + 4 / h.clone();
    let y = -&x + -x.clone();
    let mask = y.gt(0.0) & !y.ge(&x) | x.eq(1).ne(y.lt(2)) | y.le(0.5);
    mask.select(&x, 0.0).save("select");
    h += 1.0;
    h -= &x;
    h *= 2;
    h /= session.tensor(vec![1.0f32, 2.0, 3.0, 4.0]);
    let mut last = h.at((.., -1));
    last += 1;
    h.save("h");
    let (values, indices) = t.hook(HEAD).topk(3, -1);
    session.tuple([values, indices]).save("top");
    let (low, _) = t.hook(HEAD).softmax(-1).bottomk(2, -1);
    session.cat([&low, &low], -1).save("cat");
    session.stack(vec![low.clone(), low.ln().exp().sqrt().abs().sigmoid().silu()], 0).save("stack");
    let h = t.hook(layer(1));
    h.matmul(h.transpose(1, 2)).causal_mask(None).save("scores");
    h.rms_norm([1.0, 1.0, 1.0, 1.0], 1e-5).max([0, 1]).maximum(h.min(..)).minimum(1).save("extremes");
    h.reshape([1, 3, 2, 2]).rotary([[0, 1, 2]], [1.0], 1.5).save("rotary");
    (h.layer_norm(1e-5).gelu("none") + h.gelu("tanh")).save("gelus");
    h.gather(-1, h.argmax(keep(-1))).save("gathered");
    session.tensor(Tensor::new([2, 4], vec![0.0f32; 8])).embedding([0, 1, 1]).save("rows");
    (h.isnan() ^ h.relu().gt(h.clamp(-1.0, None))).any(..).save("xor");
    h.floor().remainder(2).pow(3).leaky_relu(0.1).elu(1.0).softplus(1.0).cumsum(-1).cumprod(1).save("functions");
    h.norm(f64::INFINITY, keep(-1)).maximum(h.std([0, 1], 1)).minimum(h.var(.., 0)).save("spread");
    session.tuple([h.sort(-1).1, h.sort_descending(0).1, h.argmin(keep(..))]).save("order");
    h.cosine_similarity([1.0, 0.0, 0.0, 0.0], -1).save("cosine");
    let logits = t.hook(HEAD).index(0, 0);
    logits.cross_entropy([1, 2, 0], Reduction::Mean).save("loss");
    logits.log_softmax(-1).kl_div(logits.softmax(-1), Reduction::BatchMean).save("divergence");
    t.apply("lm_head", t.apply("model.norm", &h)).argmax(..).save("lens");
    session.trace(t.hook(HEAD).argmax(-1)).hook(HEAD).save("again");
    program(&session);
}

#[test]
fn numbers_are_scalars_of_pytorch() {
    let session = session();
    let wide = session.tensor(Tensor::new([2], vec![1.0f64, 2.0]));
    (0.1 * wide).save("wide");
    (0.1 * session.tensor([1, 2])).save("narrow");
    let shown = show(&program(&session));
    assert!(shown.contains("mul(f64(0.1), f64[") && shown.contains("mul(0.1, [1, 2])"), "{shown}");
}

#[test]
fn sessions_can_move_between_threads() {
    let session = session();
    let t = session.trace([1, 2, 3]);
    std::thread::scope(|scope| {
        scope.spawn(|| t.hook(layer(0)).set(0.0));
    });
    t.hook(HEAD).save("logits");
    assert_eq!(program(&session).len(), 7);
}

#[test]
fn several_models() {
    let session = session();
    let other = session.add_model("n", "tiny instruct", spec());
    session.add_model("unused", "nothing", spec());
    let h = session.trace("a").hook(layer(1)).at((.., -1));
    let t = other.trace("a");
    t.hook(layer(1)).at((.., -1)).set(&h);
    session.log("a");
    t.hook(HEAD).save("patched");
    other.apply("lm_head", &h).save("lens");
    let graph = program(&session);
    assert_eq!(
        graph.models.iter().map(|decl| (&*decl.name, &*decl.reference)).collect::<Vec<_>>(),
        [("m", "tiny"), ("n", "tiny instruct")]
    );
}

#[test]
fn names_are_unique_labels() {
    let session = session();
    let t = session.trace([1]);
    (t.hook(layer(0)).named("h") + t.hook(layer(1)).named("h")).named("sum").save("sum");
    let graph = program(&session);
    let labels: Vec<&str> = graph.nodes().filter_map(|(id, _)| graph.label(id)).map(|label| &**label).collect();
    assert_eq!(labels, ["h", "h_2", "sum"]);
}

#[test]
fn a_replaced_tensor_is_another_one() {
    let mut recorder = Recorder::new("replaced");
    let model = recorder.add_model("m", "tiny", spec(), Span::None).unwrap();
    let tokens = recorder.prompt(model, "a", Span::None);
    let trace = recorder.trace(model, &tokens, Span::None).unwrap();
    let old = recorder.hook(trace, &layer(0), Span::None);
    let doubled = recorder.op(Op::Add {}, &[&old, &old], Span::None);
    recorder.replace(trace, &layer(0), &doubled, Span::None);
    recorder.set(&old, &doubled, Span::None); // the forward pass does not look at it any more
    let logits = recorder.hook(trace, HEAD, Span::None);
    for (name, value) in [("old", &old), ("logits", &logits)] {
        recorder.effect(EffectKind::Save { name: name.into() }, value, Scope::Value, Span::None);
    }
    let graph = recorder.program().unwrap();
    let write = graph.nodes().find(|(_, node)| matches!(node.op, Op::Write { .. })).unwrap().1;
    assert!(matches!(graph.node(write.operands[1]).op, Op::Add {}), "{}", show(&graph));
}

#[test]
fn long_programs_do_not_overflow_the_stack() {
    let session = session();
    let t = session.trace([1]);
    let mut h = t.hook(layer(0));
    for _ in 0..20_000 {
        h += 1.0;
    }
    t.hook(HEAD).save("logits");
    assert_eq!(program(&session).len(), 20_000 + 6);
}

#[test]
fn calls_have_their_place_among_effects() {
    let session = session();
    let t = session.trace([1, 2]);
    let late = t.hook(layer(1));
    let number = || Type::tensor(DType::F32, []);
    let seen = session.call("see", [&late], Type::Opaque);
    t.hook(layer(0)).log("early");
    let scale = session.call("scale", [&t.hook(layer(0)).at((0, 0, 0))], number());
    t.hook(layer(1)).mul_(&scale);
    let pure = session.call_pure("pure", [&scale, &scale], number());
    session.when(pure.gt(0.5), || {
        session.call("told", [&seen], Type::Opaque);
        session.when(scale.gt(0.0), || t.stop("why"));
    });
    t.hook(HEAD).save("logits");
    session.stop(None);
    let graph = program(&session);
    // A stop takes the place of the hook that its condition depends on.
    let kinds: Vec<&EffectKind> = graph.effects.iter().map(|effect| &effect.kind).collect();
    let called = |kind: &EffectKind, wanted: &str| matches!(kind, EffectKind::Call { name, .. } if **name == *wanted);
    let guarded: Vec<bool> = graph.effects.iter().map(|effect| effect.guard.is_some()).collect();
    let shown = show(&graph);
    assert!(matches!(kinds[0], EffectKind::Log { .. }) && called(kinds[1], "scale"), "{shown}");
    assert!(matches!(kinds[2], EffectKind::Stop { reason: Some(_) }) && called(kinds[3], "see") && called(kinds[4], "told"), "{shown}");
    assert!(matches!(kinds[5..], [EffectKind::Save { .. }, EffectKind::Stop { reason: None }]), "{shown}");
    assert_eq!(guarded, [false, false, true, false, true, false, false], "{shown}");
    assert!(graph.nodes().any(|(_, node)| matches!(node.op, Op::And {})), "{shown}");
}

#[test]
fn what_is_returned_late_cannot_be_set_early() {
    let session = session();
    let t = session.trace([1, 2]);
    let returned = session.call("f", [&t.hook(layer(1))], Type::tensor(DType::F32, []));
    t.hook(layer(0)).set(&returned);
    let after = session.trace([3]);
    session.log("between");
    let late = session.call("g", [0.0], Type::tensor(DType::F32, []));
    after.hook(HEAD).set(&late);
    t.hook(HEAD).set(&late);
    let errors = session.program().unwrap_err();
    assert_eq!(errors.0.iter().map(|error| error.code).collect::<Vec<_>>(), [Code::E2007, Code::E2007], "{errors}");
}
