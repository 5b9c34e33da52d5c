// Invariant 2: a norm has a weight of its type.
graph @norm_weight {
  save rms_norm([3.0, 4.0], f16[1.0, 1.0]) {eps: 1e-5} as "x"
}
