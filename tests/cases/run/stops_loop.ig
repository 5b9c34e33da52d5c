// A stop in a loop ends the program, not the loop.
graph @stops {
  do loop() {trip: 5} (%i) {
    save %i as "last"
    do loop(%i) {trip: 5} (%j, %i) {
      log "at", add(mul(%i, 10), %j)
      stop if eq(add(%i, %j), 2)
    }
  }
  save 1 as "after"
}
