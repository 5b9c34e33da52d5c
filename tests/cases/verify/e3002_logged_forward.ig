// Invariant 7: nor logged.
graph @logged_forward models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  log "the run", %f
}
