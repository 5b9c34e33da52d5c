// Invariant 6: a size that depends on when a loop ends is a symbol of that loop.
graph @g {
  %r = loop([1, 2]) {trip: 4} (%i, %x: tensor<Nxi64>) {
    until eq(%i, 2)
    yield cat(%x, [3]) {dim: 0}
  } : (tensor<5xi64>)
}
