// Invariant 2: only sizes of 1 grow.
graph @expand {
  save expand([1, 2, 3]) {shape: [2, 4]} as "x"
}
