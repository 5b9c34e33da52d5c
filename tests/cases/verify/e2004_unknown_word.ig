// Invariant 5: a prompt has words of the model.
graph @unknown_word models { m: "induction" } {
  %f = forward("<s> Eifel Paris") {model: m}
  save read(%f) {hook: "lm_head.output"} as "logits"
}
