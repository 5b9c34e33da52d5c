// Invariant 4: a write sets all of a hook.
graph @part_of_hook models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  %x = slice(%h) {dim: 1, start: -1}
  %w = write(%f, %x) {hook: "model.layers.1.output"}
  save read(%w) {hook: "lm_head.output"} as "logits"
}
