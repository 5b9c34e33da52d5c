// Invariant 5: a forward is no longer than the context.
graph @context models { m: "induction" } {
  %f = forward([[0, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3]]) {model: m}
  save read(%f) {hook: "lm_head.output"} as "logits"
}
