// Invariant 2: so is one that counts from the end.
graph @negative_index models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save index(%l) {dim: 1, index: -7} as "seventh"
}
