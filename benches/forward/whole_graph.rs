//! The peer: the same model as one ONNX graph with rten's own fused attention, over the same file of weights.

use irc::{
    backends::{
        Handle,
        onnx::{
            proto::{DataType, Dim, GraphProto, ModelProto, TensorProto, ValueInfoProto, node},
            session::{Session, SessionOptions, TensorRef, Threads, ValueId},
        },
        weights::Place,
    },
    models::llama::LlamaConfig,
};

/// rten's whole-graph forward.
pub(crate) struct WholeGraph {
    session: Session,
    tokens: ValueId,
    lengths: ValueId,
    total: ValueId,
    logits: ValueId,
}

impl WholeGraph {
    /// Builds and packs the graph.
    pub(crate) fn load(config: &LlamaConfig, handle: &Handle, threads: Threads) -> WholeGraph {
        let model = build(config, handle);
        let session = Session::load(model, handle.weights.file(), SessionOptions { threads, prepack: true }).expect("the graph loads");
        let id = |name: &str| session.value(name).expect("the graph has this value");
        WholeGraph { tokens: id("tokens"), lengths: id("lengths"), total: id("total"), logits: id("logits"), session }
    }

    /// The logits [tokens, vocabulary] of one sequence.
    pub(crate) fn forward(&self, tokens: &[i64]) -> Vec<f32> {
        let count = tokens.len();
        let (last, total, shape) = ([count as i32 - 1], [count as i32], [1, count]);
        let given = [
            (self.tokens, TensorRef::i64(&shape, tokens)),
            (self.lengths, TensorRef::i32(&[1], &last)),
            (self.total, TensorRef::i32(&[], &total)),
        ];
        // Inside the pool, as our own driver does.
        let given = given.as_slice();
        let mut out = self.session.threads().run(|| self.session.run(given, &[self.logits])).expect("the graph runs");
        out.remove(0).into_f32().expect("logits are f32")
    }
}

pub(crate) fn build(c: &LlamaConfig, handle: &Handle) -> ModelProto {
    let mut graph = GraphProto::new("whole");
    for decl in handle.spec.weights() {
        let dims: Vec<usize> = decl.ty.shape.iter().filter_map(|dim| dim.as_usize()).collect();
        let Ok(Place::File { offset, length, .. }) = handle.weights.place(decl) else { panic!("the weights are in a file") };
        graph = graph.constant(TensorProto::external(&decl.name, DataType::Float, &dims, "weights.data", *offset, *length));
    }
    let half = c.head_dim / 2;
    let angle = |position: usize, pair: usize| position as f32 * c.rotary.inverse_frequencies[pair];
    let positions = 2048;
    let table = |f: fn(f32) -> f32| (0..positions).flat_map(|p| (0..half).map(move |i| f(angle(p, i)))).collect::<Vec<f32>>();
    graph = graph
        .constant(TensorProto::f32("cos", &[positions, half], &table(f32::cos)))
        .constant(TensorProto::f32("sin", &[positions, half], &table(f32::sin)))
        .input(ValueInfoProto::tensor("tokens", DataType::Int64, [Dim::from(1), "N".into()]))
        .input(ValueInfoProto::tensor("lengths", DataType::Int32, [Dim::from(1)]))
        .input(ValueInfoProto::tensor("total", DataType::Int32, Vec::<Dim>::new()))
        .output(ValueInfoProto::untyped("logits"));
    let mut nodes = vec![node("Gather", ["model.embed_tokens.weight", "tokens"], ["x.0"]).attr("axis", 0)];
    let norm = |x: &str, weight: &str, out: &str| {
        node("RMSNormalization", [x, weight], [out]).attr("axis", -1).attr("epsilon", c.rms_norm_eps as f32)
    };
    for l in 0..c.num_hidden_layers {
        let w = |name: &str| format!("model.layers.{l}.{name}");
        let v = |name: &str| format!("{name}.{l}");
        let product = |x: &str, weight: &str, out: &str| node("MatMul", [v(x), w(weight)], [v(out)]);
        nodes.push(norm(&v("x"), &w("input_layernorm.weight"), &v("n")));
        nodes.extend(["q", "k", "v"].map(|name| product("n", &format!("self_attn.{name}_proj.weight.T"), name)));
        let inputs = [v("q"), v("k"), v("v"), String::new(), String::new(), "lengths".into(), "total".into(), "cos".into(), "sin".into()];
        let attention = node("GroupQueryAttention", inputs, [v("z"), v("past_k"), v("past_v")]).domain("com.microsoft");
        let attention = attention.attr("num_heads", c.num_attention_heads as i64).attr("kv_num_heads", c.num_key_value_heads as i64);
        nodes.push(attention.attr("do_rotary", 1).attr("scale", (c.head_dim as f32).sqrt().recip()));
        nodes.push(product("z", "self_attn.o_proj.weight.T", "o"));
        nodes.push(node("Add", [v("x"), v("o")], [v("mid")]));
        nodes.push(norm(&v("mid"), &w("post_attention_layernorm.weight"), &v("m")));
        nodes.push(product("m", "mlp.gate_proj.weight.T", "gate"));
        nodes.push(product("m", "mlp.up_proj.weight.T", "up"));
        nodes.push(node("Swish", [v("gate")], [v("act")]));
        nodes.push(node("Mul", [v("act"), v("up")], [v("product")]));
        nodes.push(product("product", "mlp.down_proj.weight.T", "down"));
        nodes.push(node("Add", [v("mid"), v("down")], [format!("x.{}", l + 1)]));
    }
    let last = format!("x.{}", c.num_hidden_layers);
    nodes.push(norm(&last, "model.norm.weight", "normed"));
    nodes.push(node("MatMul", ["normed", "lm_head.weight.T"], ["logits"]));
    let graph = nodes.into_iter().fold(graph, GraphProto::node);
    ModelProto::new(graph).opset("", 24).opset("com.microsoft", 1)
}
