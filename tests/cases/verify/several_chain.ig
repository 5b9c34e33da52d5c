// Invariant 4: what follows from a mistake is not reported.
graph @chain models { m: "induction" } {
  %a = forward("<s> Eiffel Paris") {model: m}
  %h = read(%a) {hook: "model.layers.1.outputs"}
  %x = slice(%h) {dim: 9}
  %w = write(%a, add(%x, "text")) {hook: "model.layers.1.output"}
  %l = read(%w) {hook: "no.such.hook"} : tensor<f32>
  save matmul(%l, %l) as "x"
  log "only this one besides", get(tuple(%a)) {index: 1}
}
