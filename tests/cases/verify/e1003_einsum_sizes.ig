// Invariant 2: a letter has one size.
graph @einsum_sizes {
  save einsum([[1.0, 2.0]], [1.0, 2.0, 3.0]) {equation: "ij,j"} as "x"
}
