// Invariant 9: the end of a loop is one bool.
graph @g {
  %r = loop([1, 2]) {trip: 3} (%i, %x) {
    until eq(%x, 1)
    yield %x
  }
}
