// Invariant 2: a position-wise module takes any leading dimensions.
graph @module_shapes models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save apply(index(%h) {dim: 1, index: -1}) {model: m, module: "lm_head"} as "last"
  save apply(index(index(%h) {dim: 1, index: -1}) {dim: 0, index: 0}) {model: m, module: "lm_head"} as "vector"
  save apply(stack(%h, %h) {dim: 0}) {model: m, module: "lm_head"} as "stacked"
  save apply(%h) {model: m, module: "model.layers.2"} as "layer"
}
