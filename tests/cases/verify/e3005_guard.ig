// Invariant 9: a guard is one bool.
graph @g {
  %x = [1, 2]
  save %x as "x" if gt(%x, 1)
}
