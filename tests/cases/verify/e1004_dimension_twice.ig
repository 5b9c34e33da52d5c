// Invariant 2: a dimension is reduced once.
graph @dimension_twice models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save mean(%l) {dims: [2, -1]} as "mean"
}
