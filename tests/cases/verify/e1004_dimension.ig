// Invariant 2: dimensions are in range.
graph @dimension models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save softmax(%l) {dim: 3} as "p"
}
