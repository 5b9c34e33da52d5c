// Invariant 2: the type of an empty list is stated.
graph @empty_list {
  save list() as "x"
}
