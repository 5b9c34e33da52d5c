// Invariant 2: ids of `scatter` are not larger than its source.
graph @scatter {
  save scatter([1, 2, 3], [0, 1], [7]) {dim: 0} as "x"
}
