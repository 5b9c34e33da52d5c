// Invariant 4: every kind of hook, and its type.
graph @hooks models { m: "induction" } {
  %f = forward([[0, 2, 3], [0, 4, 5]]) {model: m}
  %v0 = read(%f) {hook: "model.embed_tokens.input"}
  %v1 = read(%f) {hook: "model.embed_tokens.output"}
  %v2 = read(%f) {hook: "model.embed_positions.input"}
  %v3 = read(%f) {hook: "model.layers.0.input"}
  %v4 = read(%f) {hook: "model.layers.0.self_attn.input"}
  %v5 = read(%f) {hook: "model.layers.0.self_attn.q_proj.input"}
  %v6 = read(%f) {hook: "model.layers.0.self_attn.q_proj.output"}
  %v7 = read(%f) {hook: "model.layers.0.self_attn.q"}
  %v8 = read(%f) {hook: "model.layers.0.self_attn.k"}
  %v9 = read(%f) {hook: "model.layers.0.self_attn.v"}
  %v10 = read(%f) {hook: "model.layers.0.self_attn.scores"}
  %v11 = read(%f) {hook: "model.layers.0.self_attn.pattern"}
  %v12 = read(%f) {hook: "model.layers.0.self_attn.z"}
  %v13 = read(%f) {hook: "model.layers.0.self_attn.o_proj.output"}
  %v14 = read(%f) {hook: "model.layers.0.self_attn.output"}
  %v15 = read(%f) {hook: "model.output"}
  %v16 = read(%f) {hook: "lm_head.input"}
  %v17 = read(%f) {hook: "lm_head.output"}
  save tuple(%v0, %v1, %v2, %v3, %v4, %v5, %v6, %v7, %v8, %v9, %v10, %v11, %v12, %v13, %v14, %v15, %v16, %v17) as "all"
}
