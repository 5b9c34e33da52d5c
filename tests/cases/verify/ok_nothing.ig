// Invariant 7: a program need not save anything.
graph @nothing models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "lm_head.output"}
}
