// Who looks at whom: in the first layer at the word before, in the third at what followed the same word.
graph @pattern models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  save argmax(read(%f) {hook: "model.layers.0.self_attn.pattern"}) {dim: -1} as "the word before"
  save argmax(read(%f) {hook: "model.layers.2.self_attn.pattern"}) {dim: -1} as "induction"
  save index(read(%f) {hook: "model.layers.2.self_attn.scores"}) {dim: 2, index: -1} as "scores before the mask"
  %z = apply(read(%f) {hook: "model.layers.1.output"}) {model: m, module: "model.layers.2.self_attn"}
  save slice(index(%z) {dim: 1, index: -1}) {dim: -1, start: 48} as "what the module adds to the prediction"
}
