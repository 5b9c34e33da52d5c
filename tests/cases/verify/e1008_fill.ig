// Invariant 2: what fills the rest is of the element type.
graph @fill {
  save masked_select([1, 2], [true, false]) {size: 2, fill: 0.5} as "x"
}
