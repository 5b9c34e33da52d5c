// Invariant 2: joined tensors differ in one dimension only.
graph @cat models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  %l = read(%f) {hook: "lm_head.output"}
  save cat(%h, %l) {dim: 1} as "both"
}
