// What iterations give, as a list; shapes that name sizes of the body.
graph @lists {
  %none = list() {of: tensor<i64>}
  %r = loop(%none, tensor<1x0xi64>()) {trip: 3} (%i, %all, %x: tensor<1xNxi64>) {
    %wide = expand(%x) {shape: [2, N]}
    %more = append(%all, sum(%wide))
    yield %more, cat(%x, reshape(%i) {shape: [1, 1]}) {dim: 1}
  }
  save get(%r) {index: 0} as "sums"
  save get(%r) {index: 1} as "numbers"
}
