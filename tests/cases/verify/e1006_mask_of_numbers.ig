// Invariant 2: a mask is of bools.
graph @mask_of_numbers {
  save masked_select([1, 2], [1, 0]) {size: 1} as "x"
}
