// Invariant 2: a text is not a number.
graph @text_for_tensor {
  save add("one", 1) as "two"
}
