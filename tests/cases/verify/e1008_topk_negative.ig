// Invariant 2: a number of elements is not negative.
graph @topk_negative models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save topk(%l) {k: -1} as "top"
}
