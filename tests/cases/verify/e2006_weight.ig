// Invariant 3: weights stand inside models.
graph @weight models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  %w = weight {name: "lm_head.weight.T", dtype: f32, shape: [64, 16]}
  save matmul(%h, %w) as "logits"
}
