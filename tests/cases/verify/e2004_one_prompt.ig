// Invariant 5: token ids have batch and tokens.
graph @one_prompt models { m: "induction" } {
  %f = forward([0, 2, 3]) {model: m}
  save read(%f) {hook: "lm_head.output"} as "logits"
}
