// Invariant 2: a shape from nothing is of numbers.
graph @full_symbol {
  save full {shape: [T, 2], value: 1} as "x"
}
