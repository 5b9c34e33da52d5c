// In the body of a loop.
graph @fails {
  do loop() {trip: 3} (%i) {
    log "iteration", %i
    do call(%i) {name: "fail"} if eq(%i, 1)
  }
}
