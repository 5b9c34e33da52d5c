// Invariant 2: a scalar has no dimensions.
graph @dimension_of_scalar models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save slice(sum(%l)) {dim: 0, start: 0} as "x"
}
