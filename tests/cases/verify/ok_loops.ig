// Invariant 11: sizes after loops: known after the last iteration, or symbols where the end is not known.
graph @loops models { m: "induction" } {
  %f = forward([[1, 2, 3]]) {model: m}
  %a = loop(%f, [[4, 5]]) {trip: 4} (%i, %f: forward<m, 1xT after P>, %t) {
    %pattern = read(%f) {hook: "model.layers.0.self_attn.pattern"}
    yield extend(%f, %t), %t
  }
  %b = loop(%f, [1.0], [2.0]) {trip: 4} (%i, %f: forward<m, 1xT after P>, %x: tensor<Nxf32>, %same) {
    until eq(%i, 2)
    yield extend(%f, [[4]]), cat(%x, %same) {dim: 0}
  }
  %pattern = read(get(%b) {index: 0}) {hook: "model.layers.0.self_attn.pattern"}
  %first = index(get(%b) {index: 1}) {dim: 0, index: 0}
  %swapped = loop([1], [2, 3], tensor<0xi64>()) {trip: 3} (%i, %a: tensor<Axi64>, %b: tensor<Bxi64>, %c: tensor<Cxi64>) {
    yield %b, %a, cat(%c, %a, %a) {dim: 0}
  }
  %nested = loop(%f) {trip: 3} (%i, %f: forward<m, 1xT after P>) {
    %inner = loop(%f) {trip: 2} (%j, %f: forward<m, 1xT after P>) {
      %keys = read(%f) {hook: "model.layers.0.self_attn.scores"}
      until eq(%j, 1)
      yield extend(%f, [[4]])
    }
    %unknown = loop(%f) {trip: 2} (%j, %f) { yield %f }
    %g = get(%inner) {index: 0}
    %scores = read(%g) {hook: "model.layers.0.self_attn.scores"}
    yield get(%unknown) {index: 0}
  }
}
