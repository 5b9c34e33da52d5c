// Invariant 2: a product of matrices has no scalars.
graph @matmul_of_scalar models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save matmul(%h, 2.0) as "double"
}
