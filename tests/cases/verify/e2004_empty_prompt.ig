// Invariant 5: a prompt has a token.
graph @empty_prompt models { m: "induction" } {
  %f = forward("") {model: m}
  save read(%f) {hook: "lm_head.output"} as "logits"
}
