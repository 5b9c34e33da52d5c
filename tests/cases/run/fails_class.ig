// A class that the logits do not have.
graph @fails_class {
  save cross_entropy([[0.0, 1.0]], [2]) as "never"
}
