// Effects stay in their order; equal calls among them are each made, equal values are one.
graph @effects {
  %a = do call(1) {name: "count", returns: tensor<i64>}
  %b = do call(1) {name: "count", returns: tensor<i64>}
  %x = random_normal {shape: [3], seed: 2}
  %y = random_normal {shape: [3], seed: 2}
  log "sum", add(%a, %b)
  %c = do call(add(%x, %y)) {name: "show", returns: tensor<3xf32>} if gt(max(%x), max(%y)) else %x
  save get(tuple(%c, %a)) {index: 0} as "c"
  stop "enough" if eq(%a, %b)
  save neg(neg(%y)) as "y"
}
