// What loops carry: swaps, sizes that grow, nothing at all; symbols name sizes in a body.
graph @loops {
  %swap = loop(1, 2) {trip: 3} (%i, %a, %b) { yield %b, %a }
  save %swap as "swapped"
  save loop(3) {trip: 0} (%i, %x) { yield neg(%x) } as "not at all"
  save get(loop([1], 10) {trip: 3} (%i, %x: tensor<Nxi64>, %ten) { yield cat(mul(%x, %ten), %x) {dim: 0} }) {index: 0} as "doubled"
  %sums = loop(tensor<0xi64>(), 0) {trip: 4} (%i, %all: tensor<Nxi64>, %sum) {
    // A loop in a loop: the sum of 0..i, once more the slow way.
    %inner = loop(%sum) {trip: 2} (%j, %sum) { yield add(%sum, %j) }
    %more = get(%inner) {index: 0}
    yield reshape(cat(%all, reshape(%more) {shape: [1]}) {dim: 0}) {shape: [-1]}, %more
  }
  save get(%sums) {index: 0} as "sums"
  %matrix = loop([[1, 2], [3, 4]]) {trip: 2} (%i, %x: tensor<NxMxi64>) { yield reshape(transpose(%x) {dim0: 0, dim1: 1}) {shape: [N, M]} }
  save %matrix as "reshaped by symbols"
  save loop() {trip: 7} (%i) { yield } as "nothing"
}
