// More elements than the stated size: none are dropped.
graph @fails_nonzero {
  save nonzero([1, 0, 1, 1]) {size: 2, fill: -1} as "places"
}
