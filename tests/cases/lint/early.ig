// A write whose forward is read, but only before it.
graph @early models { m: "induction" } {
  %f = forward([[1, 2, 3]]) {model: m}
  %w = write(%f, mul(read(%f) {hook: "model.layers.3.output"}, 0.0)) {hook: "model.layers.3.output"}
  save read(%w) {hook: "model.layers.1.output"} as "early"
}
