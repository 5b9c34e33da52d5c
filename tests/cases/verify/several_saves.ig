// Invariant 7: each save of a name points to the first.
graph @saves models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save %l as "x"
  save sum(%l) as "x"
  save max(%l) as "x"
}
