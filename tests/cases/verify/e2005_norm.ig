// Invariant 4: this model has no norm.
graph @norm models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save apply(%h) {model: m, module: "model.norm"} as "normed"
}
