// Invariant 4: a patch comes from a prompt of the same length.
graph @other_length models { m: "induction" } {
  %a = forward("<s> Eiffel Paris") {model: m}
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %w = write(%f, read(%a) {hook: "model.layers.1.output"}) {hook: "model.layers.1.output"}
  save read(%w) {hook: "lm_head.output"} as "logits"
}
