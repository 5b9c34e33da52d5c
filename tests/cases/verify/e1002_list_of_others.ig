// Invariant 2: values of a list have one type.
graph @list_of_others {
  save list([1.0], [1.0, 2.0]) as "x"
}
