// Invariant 2: a window holds the query itself.
graph @window {
  save causal_mask([[1.0, 2.0], [3.0, 4.0]]) {window: 0} as "masked"
}
