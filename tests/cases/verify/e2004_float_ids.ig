// Invariant 5: token ids are integers.
graph @float_ids models { m: "induction" } {
  %f = forward([[0.0, 2.0]]) {model: m}
  save read(%f) {hook: "lm_head.output"} as "logits"
}
