// Sums of products over named dimensions.
graph @ops_einsum {
  %x = [[1.0, 2.0], [3.0, 4.0]]
  save einsum(%x, [1.0, 10.0]) {equation: "ij,j->i"} as "product of matrix and vector"
  save einsum(%x, %x) {equation: "ij,kj"} as "letters that occur once"
  save einsum(%x) {equation: "ii"} as "trace"
  save einsum(%x, %x) {equation: "...j,...j->..."} as "along the last dimension"
  save einsum([1.0, 2.0], [3.0, 4.0]) {equation: "i,j->ij"} as "outer"
  save einsum(%x, [2.0, 3.0], %x) {equation: "ij,j,jk->ik"} as "three"
}
