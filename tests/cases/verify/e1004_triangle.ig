// Invariant 2: a triangle is one of a matrix.
graph @triangle {
  save tril([1, 2, 3]) as "x"
}
