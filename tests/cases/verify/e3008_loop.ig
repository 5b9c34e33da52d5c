// Invariant 12: a loop with effects is an effect.
graph @g {
  %r = loop(1) {trip: 3} (%i, %x) {
    log %i
    yield %x
  }
}
