// Invariant 2: there are as many tensors of ids as dimensions.
graph @ids_of_dimensions {
  save index_by([[1, 2], [3, 4]], [0], [1]) {dims: [1]} as "x"
}
