// Invariant 2: the first dimension comes before the last.
graph @flatten {
  save flatten([[1, 2], [3, 4]]) {start: 1, end: 0} as "x"
}
