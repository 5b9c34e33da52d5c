// Invariant 10: a result that may be missing has another value for that case.
graph @g {
  %x = 1
  %y = do call(%x) {name: "f", returns: tensor<i64>} if gt(%x, 1)
  save %y as "y"
}
