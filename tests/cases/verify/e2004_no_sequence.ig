// Invariant 5: a forward has a sequence.
graph @no_sequence models { m: "induction" } {
  %f = forward(tensor<0x3xi64>()) {model: m}
  save read(%f) {hook: "lm_head.output"} as "logits"
}
