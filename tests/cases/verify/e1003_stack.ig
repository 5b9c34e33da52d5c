// Invariant 2: stacked tensors have one shape.
graph @stack models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  %l = read(%f) {hook: "lm_head.output"}
  save stack(%h, %l) {dim: 0} as "both"
}
