// Invariant 2: bools have no difference.
graph @difference_of_bools {
  save sub([true, false], [true, true]) as "x"
}
