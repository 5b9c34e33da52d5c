// Greedy: the prompt once, then a token at a time; the tokens are collected.
graph @generate models { m: "induction" } {
  %f = forward([[0, 2, 3, 4, 5, 2]]) {model: m}
  %t = argmax(slice(read(%f) {hook: "lm_head.output"}) {dim: 1, start: -1}) {dim: -1}
  %r = loop(%f, %t, %t) {trip: 5} (%i, %f: forward<m, 1xT after P>, %t, %all: tensor<1xNxi64>) {
    %g = extend(%f, %t)
    %n = argmax(read(%g) {hook: "lm_head.output"}) {dim: -1}
    yield %g, %n, cat(%all, %n) {dim: 1}
  }
  save get(%r) {index: 2} as "text"
  save read(get(%r) {index: 0}) {hook: "lm_head.input"} as "the last position"
}
