// Invariant 2: targets are classes.
graph @cross_entropy_of_probabilities {
  save cross_entropy([[1.0, 2.0]], [[0.5, 0.5]]) as "loss"
}
