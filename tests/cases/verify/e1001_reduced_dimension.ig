// Invariant 2: nor are the dimensions of a sum.
graph @reduced_dimension models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save sum(%l, [0, 1]) as "sum"
}
