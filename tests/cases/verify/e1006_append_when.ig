// Invariant 2: a value is appended where one bool holds.
graph @when {
  %l = list(1.0)
  save append(%l, 2.0, true) as "right"
  save append(%l, 2.0, [true, false]) as "wrong"
}
