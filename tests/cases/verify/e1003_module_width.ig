// Invariant 2: a module takes values of its width.
graph @module_width models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save apply(%l) {model: m, module: "lm_head"} as "lens"
}
