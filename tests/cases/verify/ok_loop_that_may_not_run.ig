// Invariant 10: a loop that a guard keeps from running gives what it would have begun with, so that sizes which change are open.
graph @guarded models { m: "induction" } {
  %f = forward([[0, 2, 3]]) {model: m}
  %go = gt(max(read(%f) {hook: "lm_head.output"}), 0.0)
  %r = do loop(%f, [[1]], [1.0, 2.0], tensor<1x0xi64>()) {trip: 2} (%i, %f: forward<m, 1xT after P>, %x: tensor<1xNxi64>, %same, %none: tensor<1xKxi64>) {
    log "step", %i
    %g = extend(%f, [[2]])
    yield %g, cat(%x, [[2]]) {dim: 1}, mul(%same, 2.0), cat(%none, [[2]]) {dim: 1}
  } if %go
  %once = do loop([[1]]) {trip: 1} (%i, %x: tensor<1xNxi64>) {
    log "once", %i
    yield cat(%x, %x) {dim: 1}
  } if %go
  save get(%r) {index: 1} as "longer"
  save get(%r) {index: 2} as "of one size"
  save get(%r) {index: 3} as "from nothing"
  save read(get(%r) {index: 0}) {hook: "model.output"} as "h"
  save get(%once) {index: 0} as "once"
}
