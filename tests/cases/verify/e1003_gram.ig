// Invariant 2: a product with itself needs a transpose.
graph @gram models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  %x = index(%h) {dim: 0, index: 0}
  save matmul(%x, %x) as "gram"
}
