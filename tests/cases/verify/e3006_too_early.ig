// Invariant 10: a result is used after its effect.
graph @g {
  %x = 1
  %late = effect_result {entry: 1}
  save %late as "late"
  do call() {name: "f", returns: tensor<i64>}
}
