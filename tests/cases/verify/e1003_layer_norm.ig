// Invariant 2: a weight or bias of layer_norm has the last dimension.
graph @layer_norm {
  save layer_norm([[1.0, 2.0, 3.0]], [1.0, 1.0, 1.0], [1.0, 0.0]) {eps: 1e-5} as "y"
}
