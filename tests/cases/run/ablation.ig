// Without the word before, nothing matches; without one of two induction layers, the answer is weaker.
graph @ablation models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %z = mul(read(%f) {hook: "model.layers.0.self_attn.output"}, 0.0)
  %w = write(%f, %z) {hook: "model.layers.0.self_attn.output"}
  save index(read(%w) {hook: "lm_head.output"}) {dim: 1, index: -1} as "only ?"
  %p = mul(read(%f) {hook: "model.layers.2.self_attn.pattern"}, 0.0)
  %v = write(%f, %p) {hook: "model.layers.2.self_attn.pattern"}
  save index(softmax(index(read(%v) {hook: "lm_head.output"}) {dim: 1, index: -1}) {dim: -1}) {dim: -1, index: 3} as "0.784"
}
