// Invariant 5: token ids lie inside the vocabulary.
graph @vocabulary models { m: "induction" } {
  %f = forward([[0, 2, 16]]) {model: m}
  save read(%f) {hook: "lm_head.output"} as "logits"
}
