// Invariant 2: ids are broadcast together.
graph @ids_broadcast {
  save index_by([[1, 2], [3, 4]], [0, 1], [0, 1, 1]) as "x"
}
