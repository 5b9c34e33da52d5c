// Elements picked and set by ids and masks.
graph @ops_indexing {
  %x = [[0, 1, 2], [10, 11, 12], [20, 21, 22]]
  save index_select(%x, [2, 0, 2]) {dim: 1} as "x.index_select(1, [2, 0, 2])"
  save index_by(%x, [0, -1]) as "x[[0, -1]]"
  save index_by(%x, [0, 2], [1, -1]) as "x[[0, 2], [1, -1]]"
  save index_by(stack(%x, %x) {dim: 0}, [[0], [1]], 2) {dims: [0, 2]} as "y[[[0], [1]], :, 2]: ids come first"
  save index_put(%x, 7, [0, -1], [0, 0]) as "x[[0, -1], [0, 0]] = 7"
  save index_put(%x, [[5], [6], [7]], [1]) {dims: [1]} as "x[:, [1]] = v"
  save index_put([0.0, 0.0], [0.5, 1.5, 2.5], [1, 0, 1]) {accumulate: true} as "accumulate"
  save scatter(%x, [[2, 1, 0]], [[7, 8, 9]]) {dim: 0} as "scatter"
  save scatter_add(%x, [[0, 0, 2]], 100) {dim: 0} as "scatter_add"
  save nonzero(gt(%x, 11)) {size: 4} as "nonzero of 4"
  save nonzero(gt(%x, 20)) {size: 3, fill: -1} as "nonzero of up to 3"
  save masked_select(%x, eq(%x, [0, 21, 12])) {size: 3} as "masked_select"
  save one_hot([2, 0]) {classes: 3} as "one_hot"
}
