// Invariant 6: a forward is of the model that it says.
graph @forward models { m: "induction" } {
  %f = forward("<s> Paris") {model: m} : forward<m, 1x3>
  save read(%f) {hook: "lm_head.output"} as "logits"
}
