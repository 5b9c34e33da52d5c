// Invariant 2: only tuples have parts.
graph @part_of_tensor models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save get(%h) {index: 0} as "first"
}
