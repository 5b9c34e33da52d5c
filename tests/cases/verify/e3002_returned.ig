// Invariant 7: no function returns a forward.
graph @g models { m: "induction" } {
  %x = do call() {name: "f", returns: (tensor<f32>, forward<m, 1x3>)}
}
