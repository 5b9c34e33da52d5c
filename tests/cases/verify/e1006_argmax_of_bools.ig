// Invariant 2: bools have no order.
graph @argmax_of_bools models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save argmax(gt(%l, 0)) {dim: -1} as "x"
}
