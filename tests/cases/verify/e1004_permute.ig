// Invariant 2: `permute` names every dimension once.
graph @permute {
  save permute([[1, 2], [3, 4]]) {dims: [1, 1]} as "x"
}
