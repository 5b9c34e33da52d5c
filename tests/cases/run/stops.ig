// What comes after a stop does not happen, and cannot fail.
graph @stops models { m: "induction" } {
  %f = forward([[0, 2, 3, 4, 5, 2]]) {model: m}
  %n = argmax(slice(read(%f) {hook: "lm_head.output"}) {dim: 1, start: -1}) {dim: -1}
  save %n as "before"
  stop "not this one" if eq(%n, 4)
  log "still here", %n
  stop "three" if eq(%n, 3)
  log "no more", %n
  save gather([1.0], [9]) {dim: 0} as "after"
}
