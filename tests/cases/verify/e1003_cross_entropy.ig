// Invariant 2: there is one class for each row of logits.
graph @cross_entropy models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  save cross_entropy(read(%f) {hook: "lm_head.output"}, [[3, 4, 5, 6, 3, 4]]) as "loss"
}
