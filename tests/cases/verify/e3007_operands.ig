// Invariant 11: the body has a parameter for each operand.
graph @g {
  %r = loop(1, 2) {trip: 3} (%i, %x) {
    yield %x
  }
}
