// Invariant 2: every operand is looked at.
graph @norm_of_read models { m: "induction" } {
  %a = forward("<s> Paris") {model: m}
  save cat(read(%a) {hook: "model.output"}, %a) {dim: 0} as "x"
}
