// Invariant 2: dimensions are attributes, not operands.
graph @dimension_as_operand models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save argmax(%l, -1) as "best"
}
