// Invariant 1: so does an applied module.
graph @undeclared_model_of_module models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save apply(%h) {model: toy, module: "lm_head"} as "lens"
}
