// Several values as one.
graph @ops_tuples {
  %t = tuple([1, 2], "text", tuple(0.5))
  save %t as "tuple"
  save get(%t) {index: 0} as "first"
  save get(get(%t) {index: 2}) {index: 0} as "nested"
}
