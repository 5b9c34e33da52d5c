// Along dimensions.
graph @ops_reductions {
  %x = [[1.0, 5.0, 5.0], [4.0, -2.0, nan]]
  %y = [[3, 1, 2], [0, 9, 9]]
  save sum(%x) as "sum"
  save sum(%y) {dims: [0], keepdim: true} as "sum of integers"
  save mean(%x) {dims: [-1]} as "mean"
  save max(%x) {dims: [1]} as "max"
  save min(%y) as "min"
  save argmax(%x) {dim: 1} as "argmax"
  save argmax(%y) as "argmax of all"
  save topk(%y) {k: 2} as "topk"
  save topk(%y) {k: 2, dim: 0, largest: false} as "smallest"
  save softmax([[0.0, 0.0], [1.0, -inf]]) {dim: -1} as "softmax"
}
