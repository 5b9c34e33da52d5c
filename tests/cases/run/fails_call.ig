// A function that fails ends the program where it is called.
graph @fails {
  log "before", 1
  do call(2) {name: "fail"}
  log "after", 3
}
