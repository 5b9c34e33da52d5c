// Invariant 11: the number of the iteration is a number.
graph @g {
  %r = loop(1) {trip: 3} (%i: tensor<f32>, %x) {
    yield %x
  }
}
