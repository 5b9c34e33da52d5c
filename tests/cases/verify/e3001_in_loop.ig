// Invariant 7: the names of saves in bodies count.
graph @g {
  save 1 as "x"
  do loop(2) {trip: 3} (%i, %x) {
    save %x as "x"
  }
}
