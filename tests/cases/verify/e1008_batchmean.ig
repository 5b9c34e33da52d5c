// Invariant 2: a loss has its reductions.
graph @batchmean {
  save cross_entropy([[1.0, 2.0]], [1]) {reduction: batchmean} as "loss"
}
