graph @g {
  %a = [1, 2, 3]
  %b = slice(%a) {dim: 0, strat: 1}
  %c = argmax(%a) {axis: 0}
  %d = add(%a, %a) {alpha: 2}
}
