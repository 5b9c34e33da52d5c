// Invariant 2: a slice goes forward.
graph @step models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save slice(%l) {dim: 1, step: -1} as "reversed"
}
