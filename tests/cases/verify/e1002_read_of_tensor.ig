// Invariant 2: a read is of a forward.
graph @read_of_tensor models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save read(%h) {hook: "lm_head.output"} as "logits"
}
