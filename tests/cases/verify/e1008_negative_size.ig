// Invariant 2: a size is not negative.
graph @negative_size models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save reshape(%h) {shape: [-2, 3]} as "x"
}
