// Invariant 2: there are no more largest than elements.
graph @topk models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save topk(%l) {k: 17} as "top"
}
