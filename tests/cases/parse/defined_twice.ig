graph @g models { m: "one", m: "two" } {
  %a = [1, 2, 3]
  %a = neg(%a)
  save %a as "a"
}
