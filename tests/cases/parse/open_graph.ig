graph @g {
  %a = const {value: 1}
  save %a as "a"
