// The answer grows from layer to layer.
graph @lens models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h0 = index(read(%f) {hook: "model.layers.0.output"}) {dim: 1, index: -1}
  %p0 = softmax(apply(%h0) {model: m, module: "lm_head"}) {dim: -1}
  %h1 = index(read(%f) {hook: "model.layers.1.output"}) {dim: 1, index: -1}
  %p1 = softmax(apply(%h1) {model: m, module: "lm_head"}) {dim: -1}
  %h2 = index(read(%f) {hook: "model.layers.2.output"}) {dim: 1, index: -1}
  %p2 = softmax(apply(%h2) {model: m, module: "lm_head"}) {dim: -1}
  %h3 = index(read(%f) {hook: "model.layers.3.output"}) {dim: 1, index: -1}
  %p3 = softmax(apply(%h3) {model: m, module: "lm_head"}) {dim: -1}
  save index(cat(%p0, %p1, %p2, %p3) {dim: 0}) {dim: 1, index: 3} as "Paris"
}
