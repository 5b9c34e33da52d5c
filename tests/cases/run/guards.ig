// What does not hold does not happen, and nothing that only it needs can fail.
graph @guards models { m: "induction" } {
  %no = gt(1, 2)
  %yes = gt(2, 1)
  %outside = gather([1.0, 2.0], [7]) {dim: 0}
  save %outside as "never" if %no
  save [1.0] as "always" if %yes
  log "never", %outside if %no
  log "always", 1 if %yes
  do call(1) {name: "show"} if %no
  %a = do call(2) {name: "show", returns: tensor<i64>} if %yes else -1
  %b = do call(3) {name: "show", returns: tensor<i64>} if %no else -1
  save add(mul(%a, 10), %b) as "results"
  stop "not yet" if %no
  do loop(4) {trip: 2} (%i, %x) { log "loop", %x } if %no
  %c = do loop(5) {trip: 2} (%i, %x) { log "loop", %x yield add(%x, %i) } if %yes else tuple(0)
  save %c as "loop"
}
