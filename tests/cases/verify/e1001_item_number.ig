// Invariant 2: an item has one number.
graph @item_number {
  save item(list(1, 2), 0) {index: 0} as "x"
}
