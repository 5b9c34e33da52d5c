// Invariant 8: a loop has at most 2^20 iterations.
graph @g {
  %r = loop(1) {trip: 1048577} (%i, %x) {
    yield %x
  }
}
