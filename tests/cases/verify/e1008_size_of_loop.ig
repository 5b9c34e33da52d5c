// Invariant 11: a size that depends on when a loop ends has no name outside of it.
graph @g {
  %r = loop([1, 2]) {trip: 4} (%i, %x: tensor<Nxi64>) {
    until eq(%i, 2)
    yield cat(%x, [3]) {dim: 0}
  }
  %y = reshape(get(%r) {index: 0}) {shape: [N_1, 1]}
}
