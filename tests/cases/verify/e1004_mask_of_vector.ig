// Invariant 2: a causal mask is of queries and keys.
graph @mask_of_vector {
  save causal_mask([1.0, 2.0]) as "masked"
}
