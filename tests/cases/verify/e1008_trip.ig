// Invariant 11: a loop runs a number of times.
graph @g {
  %r = loop(1) {trip: -1} (%i, %x) {
    yield %x
  }
}
