// Shapes and orders: chains are one, and what comes back is what there was.
graph @shapes {
  %x = random_normal {shape: [2, 3, 4], seed: 0}
  save reshape(flatten(%x)) {shape: [2, 3, 4]} as "back"
  save squeeze(unsqueeze(unsqueeze(%x) {dim: 0}) {dim: 0}) {dim: 0} as "one is left"
  save permute(permute(%x) {dims: [1, 2, 0]}) {dims: [2, 0, 1]} as "turned back"
  save transpose(permute(%x) {dims: [1, 2, 0]}) {dim0: 0, dim1: 1} as "one permutation"
  %s = split(%x) {sizes: [1, 2], dim: 1}
  save cat(get(%s) {index: 0}, get(%s) {index: 1}) {dim: 1} as "joined again"
  save add(expand(slice(%x) {dim: 0, end: 1}) {shape: [2, 3, 4]}, %x) as "broadcast"
  save item(list(%x, neg(%x)) {of: tensor<2x3x4xf32>}) {index: 1} as "item"
}
