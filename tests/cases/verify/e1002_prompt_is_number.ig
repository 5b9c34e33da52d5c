// Invariant 2: a forward takes token ids.
graph @prompt_is_number models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  %g = forward(%f) {model: m}
  save read(%g) {hook: "lm_head.output"} as "logits"
}
