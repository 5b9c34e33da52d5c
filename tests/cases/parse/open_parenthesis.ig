graph @g {
  %a = add(1, neg(2)
  %b = neg(%a)
  save %b as "b"
}
