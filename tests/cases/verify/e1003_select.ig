// Invariant 2: condition and choices broadcast.
graph @select models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save select([true, false], %l, 0.0) as "masked"
}
