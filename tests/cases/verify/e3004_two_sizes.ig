// Invariant 11: one symbol is one size.
graph @g {
  %r = loop([[1, 2], [3, 4], [5, 6]]) {trip: 3} (%i, %x: tensor<NxNxi64>) {
    yield %x
  }
}
