// Invariant 2: a norm has a weight for each element.
graph @rms_weight models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save rms_norm(%h, [1.0, 1.0]) {eps: 1e-5} as "normed"
}
