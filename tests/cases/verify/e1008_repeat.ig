// Invariant 2: each dimension has a number.
graph @repeat {
  save repeat([[1, 2]]) {repeats: [2]} as "x"
}
