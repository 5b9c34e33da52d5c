// Invariant 11: what a loop carries keeps its element type.
graph @g {
  %r = loop(0) {trip: 3} (%i, %x) {
    yield add(%x, 0.5)
  }
}
