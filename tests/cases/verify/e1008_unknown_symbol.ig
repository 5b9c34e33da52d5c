// Invariant 2: programs know no sizes by symbols.
graph @unknown_symbol {
  save reshape([1, 2, 3, 4]) {shape: [B, -1]} as "x"
}
