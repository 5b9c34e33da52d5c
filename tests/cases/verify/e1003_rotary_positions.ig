// Invariant 2: rotary takes heads and positions.
graph @rotary_positions models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save rotary(%h, [[0, 1, 2, 3, 4, 5]], [1.0, 0.1]) as "turned"
}
