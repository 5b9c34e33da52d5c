// Invariant 2: the value of an update fits its part.
graph @update_value models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  %g = forward("<s> Paris Paris") {model: m}
  %v = read(%g) {hook: "model.layers.1.output"}
  %w = write(%f, update(%h, %v) {dim: 1, start: -1}) {hook: "model.layers.1.output"}
  save read(%w) {hook: "lm_head.output"} as "logits"
}
