// Invariant 10: results, guards, and a loop among the effects.
graph @effects {
  %x = [1.0, 2.0]
  %yes = gt(sum(%x), 2.5)
  %y = do call(%x) {name: "f", returns: tensor<2xf32>} if %yes else %x
  %r = do loop(%y, 0) {trip: 3} (%i, %x, %n: tensor<i64>) {
    %y = do call(%x, %i) {name: "g", returns: tensor<2xf32>}
    log "x", %y if gt(sum(%y), 0.0)
    yield %y, %i
  } if %yes else tuple(%y, 7)
  stop "why" if eq(get(%r) {index: 1}, 2)
  save get(%r) {index: 0} as "x"
}
