// Invariant 9: what has no result has no other one.
graph @g {
  %x = 1
  save %x as "x" if gt(%x, 1) else 2
}
