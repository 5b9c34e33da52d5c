// Invariant 5: a prompt stands in the program.
graph @computed_prompt models { m: "induction" } {
  %p = tuple("<s> Eiffel", "<s> Paris")
  %f = forward(get(%p) {index: 1}) {model: m}
  save read(%f) {hook: "lm_head.output"} as "logits"
}
