// Invariant 2: an index is in range.
graph @index models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save index(%l) {dim: 1, index: 6} as "seventh"
}
