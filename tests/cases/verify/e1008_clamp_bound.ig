// Invariant 2: a bound is a value of the element type.
graph @clamp_bound {
  save clamp(u8[1, 2]) {max: 300} as "x"
}
