// Invariant 1: an operation names a declared model.
graph @undeclared_model models { m: "induction" } {
  %f = forward("<s> Paris") {model: n}
  save read(%f) {hook: "lm_head.output"} as "logits"
}
