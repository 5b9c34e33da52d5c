// Invariant 4: a number is not broadcast to a hook.
graph @scalar models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %w = write(%f, 0.0) {hook: "model.layers.1.output"}
  save read(%w) {hook: "lm_head.output"} as "logits"
}
