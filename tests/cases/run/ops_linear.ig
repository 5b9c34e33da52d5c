// Matrices, and the parts of transformers.
graph @ops_linear {
  %x = [[1.0, 2.0], [3.0, 4.0]]
  save matmul(%x, %x) as "matmul"
  save matmul(%x, [1.0, -1.0]) as "a vector"
  save matmul([[1, 2]], [[3], [4]]) as "integers"
  save rms_norm(%x, [1.0, 2.0]) {eps: 1e-5} as "rms_norm"
  save layer_norm(%x) {eps: 1e-5} as "layer_norm"
  save layer_norm(%x, [2.0, 2.0], [0.5, -0.5]) {eps: 1e-5} as "layer_norm with weight and bias"
  save gelu([-1.0, 0.0, 2.0]) as "gelu"
  save gelu([-1.0, 0.0, 2.0]) {approximate: tanh} as "approximate gelu"
  save rotary([[[[1.0, 0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0, 1.0]]]], [[0, 2]], [1.0, 0.1]) as "rotary"
  save rotary([[[[1.0, 0.0, 0.0, 1.0]]]], [[1]], [1.0]) {scale: 2.0} as "partial rotary, scaled"
  save causal_mask([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]) as "causal_mask"
  save causal_mask([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]) {window: 2} as "window"
}
