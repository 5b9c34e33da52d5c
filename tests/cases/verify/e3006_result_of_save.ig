// Invariant 10: a save has no result.
graph @g {
  save 1 as "x"
  save effect_result {entry: 0} as "y"
}
