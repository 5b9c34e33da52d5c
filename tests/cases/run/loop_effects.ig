// Effects of a loop happen in each iteration, in their order; what is saved is what was saved last.
graph @effects models { m: "induction" } {
  %f = forward([[0, 2, 3, 4, 5, 2]]) {model: m}
  %t = argmax(slice(read(%f) {hook: "lm_head.output"}) {dim: 1, start: -1}) {dim: -1}
  log "before", %t
  %r = do loop(%f, %t) {trip: 3} (%i, %f: forward<m, 1xT after P>, %t) {
    log "iteration", %i
    %g = extend(%f, %t)
    %n = argmax(read(%g) {hook: "lm_head.output"}) {dim: -1}
    log "token", %n
    save %n as "last token"
    save %n as "last odd iteration" if eq(%i, 1)
    do loop(%i) {trip: 2} (%j, %i) {
      log "inner", add(mul(%i, 10), %j)
    }
    yield %g, %n
  }
  log "after", get(%r) {index: 1}
}
