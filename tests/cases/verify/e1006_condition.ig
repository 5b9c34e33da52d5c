// Invariant 2: a condition is bool.
graph @condition models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save select(%l, 1.0, 0.0) as "positive"
}
