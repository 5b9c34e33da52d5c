// Invariant 2: a value is broadcast to what it replaces.
graph @index_put_value {
  save index_put([1, 2, 3], [7, 8], [0, 1, 2]) as "x"
}
