// Loops among the values and among the effects, one in the other.
graph @loops models { m: "induction" } {
  %f = forward([[1, 2, 3]]) {model: m}
  %t = [[4]]
  %r = loop(%f, %t, 7) {trip: 4} (
    %i, %f: forward<m, 1xT after P>, // the parameters
    %t: tensor<1x1xi64>, %"a constant"
  ) {
    %g = extend(%f, %t)
    %n = add(%t, %"a constant")
    until eq(%i, 2)
    yield %g, %n
  } : (forward<m, 1x1 after 6>, tensor<1x1xi64>)
  %last = get(loop(%t) {trip: 2} (%0, %1) { yield add(%1, %0) }) {index: 0}
  do loop(%last) {trip: 3} (%i, %x) {
    log "outer", %x
    %y = neg(%x) : tensor<1x1xi64>
    do loop(%y, %i) {trip: 2} (%j, %y, %i) {
      log "inner", add(%i, %j)
    }
  }
  %e = do loop(%last) {trip: 0, } (%i, %x) { save %x as "never" yield %x }
  %z = 1
  do loop() {trip: 1} (%i) { }
  %nothing = loop() {trip: 1} (%i) { yield }
}
