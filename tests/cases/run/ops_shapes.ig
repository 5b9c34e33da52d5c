// Shapes and element types.
graph @ops_shapes {
  %x = [[1, 2, 3], [4, 5, 6]]
  save reshape(%x) {shape: [3, -1]} as "reshape"
  save transpose(%x) {dim0: 0, dim1: -1} as "transpose"
  save unsqueeze(%x) {dim: -1} as "unsqueeze"
  save cat(%x, [[0.5, 1.5, 2.5]]) {dim: 0} as "cat"
  save stack(%x, neg(%x)) {dim: 1} as "stack"
  save cast([1.9, -1.9, inf, nan]) {dtype: i32} as "to i32"
  save cast([300, -1]) {dtype: u8} as "to u8"
  save cast([0.1, 65520.0]) {dtype: f16} as "to f16"
  save cast([0, 2]) {dtype: bool} as "to bool"
}
