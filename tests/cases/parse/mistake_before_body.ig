// A mistake in front of a body leaves the body out, and what follows is read.
graph @g {
  %x = 1
  do loop(%x) {trap: 2} (%i, %x) {
    log %x
    do loop(%x) {trip: 2} (%i, %x) {
      log %i
    }
  }
  %y = nge(%x)
}
