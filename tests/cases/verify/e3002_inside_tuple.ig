// Invariant 7: nor as part of a tuple.
graph @inside_tuple models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save tuple(%h, %f) as "both"
}
