// A function that nobody has registered is missing before anything runs.
graph @fails {
  log "nothing", 1
  do call() {name: "nowhere"}
}
