// Invariant 2: an empty dimension has no index.
graph @empty_dimension {
  save index(f32[]) {dim: 0, index: 0} as "x"
}
