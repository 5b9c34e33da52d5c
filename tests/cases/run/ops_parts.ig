// Parts of tensors.
graph @ops_parts {
  %x = [[0, 1, 2, 3, 4], [10, 11, 12, 13, 14]]
  save slice(%x) {dim: -1, start: 1, end: -1} as "x[:, 1:-1]"
  save slice(%x) {dim: 1, step: 2} as "x[:, ::2]"
  save slice(%x) {dim: 1, start: 3, end: 99} as "x[:, 3:99]"
  save slice(%x) {dim: 0, start: 2} as "x[2:]"
  save index(%x) {dim: 1, index: -2} as "x[:, -2]"
  save update(%x, [[7], [8]]) {dim: 1, start: -2} as "x[:, -2:] = v"
  save update(%x, 0.9) {dim: 0, start: 1} as "x[1:] = 0.9, truncated"
  save gather(%x, [[4, 0], [1, 1]]) {dim: 1} as "gather"
  save embedding(%x, [1, 0, 1]) as "embedding"
}
