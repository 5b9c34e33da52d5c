// Invariant 2: steps of integers are whole.
graph @arange_fraction {
  save arange {end: 1, step: 0.5} as "x"
}
