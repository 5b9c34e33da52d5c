// Invariant 2: symbols of a list stand for any size; a list in a tuple stays one.
graph @lists {
  %l = list([[1.0]], [[1.0, 2.0]]) {of: tensor<1xNxf32>}
  %m = append(%l, [[1.0, 2.0, 3.0]])
  save tuple(%m, length(%m)) as "pair"
  save item(%m) {index: -1} as "of an unknown size"
  save list {of: (str, list<tensor<i64>>)} as "nothing"
}
