// Invariant 10: no effect needs its own result.
graph @g {
  %x = effect_result {entry: 0}
  do call(%x) {name: "f", returns: tensor<i64>}
}
