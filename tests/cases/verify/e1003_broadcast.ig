// Invariant 2: shapes broadcast.
graph @broadcast models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save add(%h, [1, 2, 3]) as "sum"
}
