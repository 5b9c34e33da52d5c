// Invariant 2: a reshape keeps the number of elements.
graph @reshape models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save reshape(%h) {shape: [1, 6, 8, 9]} as "heads"
}
