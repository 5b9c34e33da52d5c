// Invariant 2: indices are integers.
graph @gather_by_floats {
  save gather([1.0, 2.0], [0.0]) {dim: 0} as "x"
}
