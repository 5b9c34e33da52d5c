// Invariant 2: an equation has a letter for each dimension.
graph @einsum_equation {
  save einsum([[1.0, 2.0]], [1.0, 2.0]) {equation: "ij,ij"} as "x"
}
