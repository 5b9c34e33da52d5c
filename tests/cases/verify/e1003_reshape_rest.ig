// Invariant 2: what is left is a whole number.
graph @reshape_rest models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save reshape(%h) {shape: [5, -1]} as "rows"
}
