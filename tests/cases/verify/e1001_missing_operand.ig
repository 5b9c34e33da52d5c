// Invariant 2: the number of operands is that of the table.
graph @missing_operand models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save add(%h) as "sum"
}
