// Invariant 2: a range has numbers.
graph @random_range {
  save random_int {shape: [2], seed: 0, low: 3, high: 3} as "x"
}
