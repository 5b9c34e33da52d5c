// Invariant 2: element types are PyTorch's.
graph @promotion {
  %i = [1, 2]
  %h = f16[0.5, 1.5]
  save tuple(add(%i, 1.5), add(%i, true), mul(%h, %i), mul(%h, 2.5), mul(%h, f32[1, 2]), add(%h, bf16[1, 2]), add(u8[1], i32[1]), div(%i, 2), sum(gt(%i, 1)), maximum(%i, f64(1))) as "types"
}
