// Invariant 2: an index has the rank of what it picks from.
graph @gather_rank models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save gather(%l, [3, 7]) {dim: -1} as "two"
}
