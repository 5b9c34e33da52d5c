// Invariant 10: a result is one value.
graph @g {
  %a = do call() {name: "f", returns: tensor<i64>}
  %b = effect_result {entry: 0}
  save add(%a, 1) as "x"
}
