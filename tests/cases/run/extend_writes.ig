// Keys and values of the past include what was written there; what is written does not apply to new positions.
graph @writes models { m: "induction" } {
  %f = forward([[0, 2, 3, 4]]) {model: m}
  %h = read(%f) {hook: "model.layers.0.output"}
  %w = write(%f, mul(%h, 0.0)) {hook: "model.layers.0.output"}
  %g = extend(%w, [[5, 2]])
  save max(read(%g) {hook: "model.layers.0.output"}) as "new positions are not written"
  save argmax(read(%g) {hook: "lm_head.output"}) {dim: -1} as "the past is gone"
  save argmax(read(extend(%f, [[5, 2]])) {hook: "lm_head.output"}) {dim: -1} as "the past is there"
  %v = write(%g, mul(read(%g) {hook: "model.layers.3.output"}, 0.0)) {hook: "model.layers.3.output"}
  save max(read(%v) {hook: "lm_head.output"}) as "new positions are written"
}
