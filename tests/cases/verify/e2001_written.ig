// Invariant 4: a hook that is written exists.
graph @written models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  %w = write(%f, %h) {hook: "model.layers.2.inputs"}
  save read(%w) {hook: "lm_head.output"} as "logits"
}
