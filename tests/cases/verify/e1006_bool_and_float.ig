// Invariant 2: the wrong operand is named.
graph @bool_and_float models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save sub(%l, gt(%l, 0)) as "x"
}
