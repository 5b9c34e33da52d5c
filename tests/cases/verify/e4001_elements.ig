// Invariant 8: tensors have at most 2^32 elements.
graph @elements {
  %a = unsqueeze(stack(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0) {dim: 0}) {dim: 0}
  %b = reshape(mul(%a, transpose(%a) {dim0: 0, dim1: 1})) {shape: [1, 256]}
  %c = reshape(mul(%b, transpose(%b) {dim0: 0, dim1: 1})) {shape: [1, 65536]}
  %d = cat(%c, %c) {dim: 1}
  save sum(mul(%d, transpose(%c) {dim0: 0, dim1: 1})) as "much"
}
