// Invariant 2: there is one stream at most.
graph @two_streams {
  save random_normal(0, 1) {shape: [2], seed: 0} as "x"
}
