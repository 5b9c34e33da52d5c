// The same elements in other places.
graph @ops_arrangement {
  %x = [[0, 1, 2], [10, 11, 12]]
  save squeeze([[[1], [2]]]) as "squeeze"
  save squeeze([[[1], [2]]]) {dim: 0} as "squeeze(0)"
  save expand([[1], [2]]) {shape: [2, -1, 3]} as "expand"
  save permute(reshape(%x) {shape: [1, 2, 3]}) {dims: [2, 0, 1]} as "permute"
  save flatten(%x) as "flatten"
  save split(%x) {size: 2, dim: -1} as "split"
  save split(%x) {sizes: [1, 0, 2], dim: 1} as "split of sizes"
  save chunk([0, 1, 2, 3, 4]) {chunks: 4} as "chunk: three pieces"
  save flip(%x) {dims: [0, 1]} as "flip"
  save roll(%x) {shifts: [1], dims: [1]} as "roll"
  save roll(%x) {shifts: [-1]} as "roll of the flat tensor"
  save repeat(%x) {repeats: [2, 1]} as "repeat"
  save repeat_interleave(%x) {repeats: 2, dim: 0} as "repeat_interleave"
  save tril(%x) as "tril"
  save triu(%x) {diagonal: 1} as "triu"
  save diagonal(%x) {offset: 1} as "diagonal"
}
