// What a loop needs of a forward is kept of it.
graph @generate models { m: "induction" } {
  %f = forward([[0, 2, 3, 4, 5, 2]]) {model: m}
  %t = argmax(slice(read(%f) {hook: "lm_head.output"}) {dim: 1, start: -1}) {dim: -1}
  %r = loop(%f, %t) {trip: 5} (%i, %f: forward<m, 1xT after P>, %t) {
    %g = extend(%f, %t)
    yield %g, argmax(read(%g) {hook: "lm_head.output"}) {dim: -1}
  }
  save get(%r) {index: 1} as "last"
  save read(get(%r) {index: 0}) {hook: "model.layers.1.output"} as "h"
}
