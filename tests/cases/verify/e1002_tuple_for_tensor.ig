// Invariant 2: a tuple is not a tensor.
graph @tuple_for_tensor models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save softmax(topk(%l) {k: 3}) {dim: -1} as "top"
}
