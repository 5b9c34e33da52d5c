// Invariant 6: claims that are right.
graph @claims models { m: "induction" } {
  %f = forward([[0, 2, 3], [0, 4, 5]]) {model: m} : forward<m, 2x3>
  %l = read(%f) {hook: "lm_head.output"} : tensor<2x3x16xf32>
  %t = topk(%l) {k: 2} : (tensor<2x3x2xf32>, tensor<2x3x2xi64>)
  %p = "text" : str
  save %t as "top"
  save %p as "text"
}
