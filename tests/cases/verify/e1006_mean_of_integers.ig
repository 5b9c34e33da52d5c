// Invariant 2: a mean is of floats.
graph @mean_of_integers models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  save mean(argmax(%l) {dim: -1}) as "mean"
}
