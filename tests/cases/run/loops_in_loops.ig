// A model that only a loop in the body of another one runs, after other effects.
graph @inner models { m: "induction" } {
  do loop(1) {trip: 2} (%i, %x) {
    log "outer", %i
    do loop(%x) {trip: 2} (%j, %x) {
      save argmax(read(forward([[0, 2, 3, 2]]) {model: m}) {hook: "lm_head.output"}) {dim: -1} as "inner"
    }
  }
}
