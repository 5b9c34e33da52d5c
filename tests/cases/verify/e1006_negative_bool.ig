// Invariant 2: bools have no negative.
graph @negative_bool models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save neg(gt(%l, 0)) as "x"
}
