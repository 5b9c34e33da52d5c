// Invariant 9: a number is no condition.
graph @g {
  stop "why" if 1
}
