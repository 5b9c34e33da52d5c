// Invariant 2: pieces make up the dimension.
graph @split_sizes {
  save split([1, 2, 3]) {sizes: [1, 1]} as "x"
}
