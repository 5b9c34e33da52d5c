// Invariant 11: a size that is 0 at first has no last element.
graph @g {
  %r = loop(tensor<0xi64>()) {trip: 3} (%i, %x: tensor<Nxi64>) {
    %last = index(%x) {dim: 0, index: -1}
    yield cat(%x, [1]) {dim: 0}
  }
}
