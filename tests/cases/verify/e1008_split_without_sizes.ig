// Invariant 2: pieces have a size or sizes.
graph @split_without_sizes {
  save split([1, 2, 3]) as "x"
}
