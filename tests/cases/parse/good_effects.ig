// Calls, stops, guards. Effects stand where what they need is there, in their order.
graph @effects {
  %x = [1.0, 2.0]
  %big = gt(sum(%x), 2.5)
  save %x as "x" if %big
  log "label", %x if %big
  log %x if %big
  do call() {name: "begin"}
  %s = do call(%x, "text", 3) {name: "step", returns: (tensor<i64>, opaque)}
  %p = call(%s) {name: "a pure one", returns: tensor<2xf32>}
  %q = call(%s) {name: "opaque"}
  %v = do call(%p) {name: "maybe", returns: tensor<2xf32>} if %big else %x : tensor<2xf32>
  do call(%v) {name: "last"} if not(%big)
  stop if %big
  stop "enough" if gt(sum(%v), 0.0)
  stop "the end"
  stop
  save %q as "q"
}
