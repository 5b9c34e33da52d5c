// Invariant 4: a module exists.
graph @misspelt_module models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save apply(%h) {model: m, module: "lm_haed"} as "lens"
}
