// Invariant 2: `clamp` has a bound.
graph @clamp_without_bounds {
  save clamp([1.0, 2.0]) as "x"
}
