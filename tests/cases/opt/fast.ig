// Fast: the largest through what rounds.
graph @fast {
  %x = random_normal {shape: [4, 9], seed: 0}
  save argmax(softmax(%x) {dim: -1}) {dim: -1} as "softmax"
  save argmax(neg(%x)) {dim: -1} as "negative"
  save argmax(cast(%x) {dtype: f64}) {dim: -1} as "cast"
}
