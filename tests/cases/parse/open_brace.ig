graph @g {
  %a = slice([1, 2]) {dim: 0, start: 1
  save %a as "a"
  %b = neg(%a)
}
