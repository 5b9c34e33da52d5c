// Invariant 5: token ids are i64.
graph @small_ids models { m: "induction" } {
  %f = forward(i32[[0, 2]]) {model: m}
  save read(%f) {hook: "lm_head.output"} as "logits"
}
