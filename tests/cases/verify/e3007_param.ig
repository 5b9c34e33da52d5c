// Invariant 11: a program has no parameters.
graph @g {
  %p = param {index: 0}
}
