// What nobody sees does not run.
graph @nothing_saved models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  %best = argmax(%l) {dim: -1}
}
