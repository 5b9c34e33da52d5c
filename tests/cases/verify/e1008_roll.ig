// Invariant 2: each dimension has a shift.
graph @roll {
  save roll([1, 2, 3]) {shifts: [1, 2], dims: [0]} as "x"
}
