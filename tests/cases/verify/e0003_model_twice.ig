// Invariant 1: a model is declared once.
graph @model_twice models { m: "induction", m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  save read(%f) {hook: "lm_head.output"} as "logits"
}
