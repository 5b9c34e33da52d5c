// Invariant 2: rows are picked from a matrix.
graph @embedding_table models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save embedding(%l, [1]) as "row"
}
