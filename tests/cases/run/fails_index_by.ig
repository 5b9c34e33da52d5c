// An id that only running can tell.
graph @fails_index_by {
  save index_by([1, 2, 3], neg(argmax([0, 0, 0, 0, 9]) {dim: 0, keepdim: true})) as "x[-4]"
}
