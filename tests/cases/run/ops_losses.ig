// Losses and similarities.
graph @ops_losses {
  save cosine_similarity([[1.0, 0.0], [3.0, 4.0]], [1.0, 1.0]) as "cosine_similarity"
  save cosine_similarity([[1.0, 0.0], [0.0, 0.0]], [[1.0, 2.0], [1.0, 2.0]]) {dim: 0} as "of columns"
  %logits = [[2.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 9.0, 0.0]]
  save cross_entropy(%logits, [0, 2, 1]) as "cross_entropy"
  save cross_entropy(%logits, [0, 2, -100]) {reduction: none} as "one is ignored"
  save cross_entropy(%logits, [0, 2, 1]) {reduction: sum, ignore_index: 1, label_smoothing: 0.1} as "smoothed"
  %right = [[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]
  %guess = log([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]])
  save kl_div(%guess, %right) {reduction: batchmean} as "kl_div"
  save kl_div(%guess, log([0.25, 0.25, 0.5])) {reduction: sum, log_target: true} as "of logarithms"
}
