// Invariant 2: a list of operands is not empty.
graph @nothing_to_join {
  save cat() {dim: 0} as "nothing"
}
