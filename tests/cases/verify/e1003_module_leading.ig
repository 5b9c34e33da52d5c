// Invariant 2: attention takes batch and tokens, not one vector.
graph @module_leading models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save apply(index(%h) {dim: 1, index: -1}) {model: m, module: "model.layers.2.self_attn"} as "out"
}
