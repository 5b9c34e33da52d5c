// Invariant 2: rotary turns pairs, of which a head has half its size.
graph @rotary_pairs {
  %x = tensor<1x1x1x4xf32>(1.0, 0.0, 1.0, 0.0)
  save rotary(%x, [[3]], [1.0, 0.1, 0.01]) as "turned"
}
