// Invariant 2: a write takes the forward first.
graph @write_swapped models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  %w = write(%h, %f) {hook: "model.layers.1.output"}
  save read(%w) {hook: "lm_head.output"} as "logits"
}
