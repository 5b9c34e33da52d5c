// Invariant 10: a result stands after what its effect needs.
graph @g {
  %result = effect_result {entry: 0}
  %x = 1
  do call(%x) {name: "f", returns: tensor<i64>}
  save %result as "x"
}
