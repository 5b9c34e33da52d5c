// Invariant 2: a new dimension has a place.
graph @new_dimension models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save unsqueeze(%l) {dim: 5} as "x"
}
