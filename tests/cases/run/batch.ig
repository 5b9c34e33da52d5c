// Several prompts of one length are one forward.
graph @batch models { m: "induction" } {
  %f = forward([[0, 2, 3, 4, 5, 2], [0, 6, 7, 8, 9, 6]]) {model: m}
  save argmax(index(read(%f) {hook: "lm_head.output"}) {dim: 1, index: -1}) {dim: -1} as "Paris and Rome"
}
