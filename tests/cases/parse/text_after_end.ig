graph @g {
  %a = neg(1)}
  save %a as "a"
}
