// Invariant 2: a stream has a number.
graph @stream {
  save random_normal(0.5) {shape: [2], seed: 0} as "x"
}
