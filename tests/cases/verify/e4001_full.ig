// Invariant 2: tensors have a largest size.
graph @full {
  save full {shape: [100000, 100000], value: 0} as "x"
}
