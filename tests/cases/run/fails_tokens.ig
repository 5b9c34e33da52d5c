// Token ids that are computed and lie outside the vocabulary.
graph @fails_tokens models { m: "induction" } {
  %t = add([[0, 2]], 14)
  %f = forward(%t) {model: m}
  save read(%f) {hook: "lm_head.output"} as "logits"
}
