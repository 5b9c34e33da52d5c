// Invariant 2: an error in a nested call points to that call.
graph @broadcast_nested models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save argmax(softmax(sub(%l, slice(%l) {dim: 1, start: 1})) {dim: -1}) {dim: -1} as "best"
}
