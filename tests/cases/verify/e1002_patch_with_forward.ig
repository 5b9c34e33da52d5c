// Invariant 2: what is written is a tensor.
graph @patch_with_forward models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %g = forward("<s> Rome Rome") {model: m}
  %w = write(%f, %g) {hook: "model.layers.1.output"}
  save read(%w) {hook: "lm_head.output"} as "logits"
}
