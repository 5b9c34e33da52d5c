// Invariant 2: a norm goes along a dimension.
graph @norm_of_number {
  save rms_norm(1.0, [1.0]) {eps: 1e-5} as "x"
}
