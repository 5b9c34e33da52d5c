// A value of a list that is not there.
graph @fails_item {
  save item(list(1, 2), add(1, 1)) as "third"
}
