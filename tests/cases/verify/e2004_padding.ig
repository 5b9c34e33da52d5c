// Invariant 5: token ids are not negative.
graph @padding models { m: "induction" } {
  %f = forward([[0, 2, 3], [0, 2, -1]]) {model: m}
  save read(%f) {hook: "lm_head.output"} as "logits"
}
