// Invariant 2: a forward takes one operand.
graph @two_prompts models { m: "induction" } {
  %f = forward("<s> Paris", "<s> Rome") {model: m}
  save read(%f) {hook: "lm_head.output"} as "logits"
}
