// Invariant 2: steps lead from the start to the end.
graph @arange_direction {
  save arange {start: 3, end: 0} as "x"
}
