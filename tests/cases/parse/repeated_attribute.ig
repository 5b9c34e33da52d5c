graph @g {
  %a = slice([1, 2]) {dim: 0, start: 1, dim: 1}
}
