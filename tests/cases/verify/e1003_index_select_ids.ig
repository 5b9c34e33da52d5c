// Invariant 2: ids of `index_select` are a vector.
graph @index_select_ids {
  save index_select([1, 2], [[0]]) {dim: 0} as "x"
}
