// Invariant 7: a forward cannot be saved.
graph @saved_forward models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  save %f as "run"
}
