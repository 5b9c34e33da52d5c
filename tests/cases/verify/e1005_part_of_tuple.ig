// Invariant 2: a tuple has its parts only.
graph @part_of_tuple models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save get(topk(%l) {k: 3}) {index: 2} as "part"
}
