// Invariant 5: a forward that a loop extends fits into the model's context after the last iteration.
graph @g models { m: "induction" } {
  %f = forward([[1, 2, 3]]) {model: m}
  %r = loop(%f) {trip: 14} (%i, %f: forward<m, 1xT after P>) {
    yield extend(%f, [[4]])
  }
}
