// Invariant 6: a claimed element type is right.
graph @element_type models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %l = read(%f) {hook: "lm_head.output"}
  %best = argmax(%l) {dim: -1} : tensor<1x6xi32>
  save %best as "best"
}
