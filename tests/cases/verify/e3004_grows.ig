// Invariant 11: a size that changes is declared to.
graph @g models { m: "induction" } {
  %f = forward([[1, 2, 3]]) {model: m}
  %r = loop(%f) {trip: 3} (%i, %f) {
    yield extend(%f, [[4]])
  }
}
