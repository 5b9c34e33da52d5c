// Invariant 2: the largest of nothing does not exist.
graph @max_of_nothing models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save max(slice(%h) {dim: 1, start: 6}) as "max"
}
