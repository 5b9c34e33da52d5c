// Invariant 2: only lists have items.
graph @item_of_tensor {
  save item([1, 2]) {index: 0} as "x"
}
