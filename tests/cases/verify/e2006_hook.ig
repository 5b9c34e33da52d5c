// Invariant 3: hooks stand inside models.
graph @hook models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save hook(%h) {name: "model.layers.1.output"} as "h"
}
