// Invariant 12: also where the effect is that of a loop inside.
graph @g {
  %r = loop(1) {trip: 3} (%i, %x) {
    do loop(%x) {trip: 2} (%j, %x) {
      do call(%x) {name: "f"}
    }
    yield %x
  }
}
