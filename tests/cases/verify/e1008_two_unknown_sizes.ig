// Invariant 2: one size may be what is left.
graph @two_unknown_sizes models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save reshape(%h) {shape: [-1, -1]} as "x"
}
