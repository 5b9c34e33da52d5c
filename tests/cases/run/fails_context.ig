// How long a loop goes on is known only when it runs: a forward may become longer than the context of its model.
graph @fails models { m: "induction" } {
  %f = forward([[0, 2, 3]]) {model: m}
  %r = loop(%f) {trip: 100} (%i, %f: forward<m, 1xT after P>) {
    until gt(%i, 90)
    yield extend(%f, [[2]])
  }
  save read(get(%r) {index: 0}) {hook: "lm_head.output"} as "x"
}
