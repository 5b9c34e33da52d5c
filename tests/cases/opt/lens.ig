// The logit lens at one position costs one position; a module that looks at others does not.
graph @lens models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  %l = apply(%h) {model: m, module: "lm_head"}
  save argmax(index(%l) {dim: 1, index: -1}) {dim: -1} as "token"
  save index(apply(%h) {model: m, module: "model.layers.2.self_attn"}) {dim: 1, index: 0} as "a layer"
  %last = read(%f) {hook: "model.layers.3.output"}
  save slice(apply(%last) {model: m, module: "lm_head"}) {dim: 1, start: -1} as "its own"
}
