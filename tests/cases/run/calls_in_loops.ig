// State of the user's functions is carried through a loop; a function can end it.
graph @calls {
  %s = call() {name: "start"}
  %r = do loop(%s, [1]) {trip: 10} (%i, %s, %x: tensor<Nxi64>) {
    %t = do call(%s, %i) {name: "push"}
    %total = do call(%t) {name: "total", returns: tensor<i64>}
    %y = call(cat(%x, %x) {dim: 0}) {name: "show", returns: tensor<(2*N)xi64>}
    log "total", %total
    until gt(%total, 5)
    yield %t, %y
  }
  save call(get(%r) {index: 0}) {name: "total", returns: tensor<i64>} as "total"
  save sum(get(%r) {index: 1}) as "ones"
}
