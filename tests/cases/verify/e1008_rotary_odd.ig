// Invariant 2: rotary turns pairs.
graph @rotary_odd {
  %x = tensor<1x1x1x4xf32>(1.0, 0.0, 1.0, 0.0)
  save rotary(%x, [[3]]) {base: 10000, rotated: 3} as "turned"
}
