// A row that is not there.
graph @fails_embedding {
  save embedding([[1.0], [2.0]], add([0, 1], 1)) as "x"
}
