// Invariant 4: a module has the leaves that it has.
graph @leaf models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  save read(%f) {hook: "model.layers.1.self_attn.probabilities"} as "p"
}
