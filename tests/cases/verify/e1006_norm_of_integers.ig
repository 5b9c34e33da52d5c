// Invariant 2: a norm is of floats.
graph @norm_of_integers {
  save rms_norm([3, 4], [1, 1]) {eps: 1e-5} as "x"
}
