// Invariant 11: a size that is at least 1 at first stays so.
graph @g {
  %r = loop([1, 2, 3]) {trip: 3} (%i, %x: tensor<Nxi64>) {
    yield slice(%x) {dim: 0, start: 1}
  }
}
