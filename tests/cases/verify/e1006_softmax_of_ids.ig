// Invariant 2: a softmax is of floats.
graph @softmax_of_ids models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save softmax(get(topk(%l) {k: 3}) {index: 1}) {dim: -1} as "p"
}
