// Invariant 11: an operand is of the type that the body declares.
graph @g {
  %r = loop([1, 2]) {trip: 3} (%i, %x: tensor<NxMxi64>) {
    yield %x
  }
}
