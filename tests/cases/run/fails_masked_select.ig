// Fewer elements than the stated size, and nothing to fill it with.
graph @fails_masked_select {
  save masked_select([1, 2, 3], [true, false, true]) {size: 3} as "elements"
}
