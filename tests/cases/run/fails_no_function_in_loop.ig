// A function that nobody has registered is missing before anything runs.
graph @fails {
  log "nothing", 1
  do loop() {trip: 1} (%i) {
    save call() {name: "nowhere", returns: tensor<i64>} as "x"
  }
}
