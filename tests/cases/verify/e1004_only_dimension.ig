// Invariant 2: a vector has one dimension.
graph @only_dimension {
  save slice([1, 2, 3]) {dim: 1, end: 2} as "x"
}
