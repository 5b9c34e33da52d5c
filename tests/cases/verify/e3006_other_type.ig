// Invariant 10: the other value is of the same type.
graph @g {
  %x = 1
  %y = do call(%x) {name: "f", returns: tensor<f32>} if gt(%x, 1) else %x
  save %y as "y"
}
