// Invariant 4: a hook is no module.
graph @hook_for_module models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save apply(%h) {model: m, module: "lm_head.output"} as "lens"
}
