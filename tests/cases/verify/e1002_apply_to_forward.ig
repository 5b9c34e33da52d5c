// Invariant 2: a module is applied to a tensor.
graph @apply_to_forward models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  save apply(%f) {model: m, module: "lm_head"} as "lens"
}
