// Lists, and texts with values in them.
graph @ops_lists {
  %a = list([1.0], [2.0])
  %b = append(%a, [3.0])
  save %b as "three"
  save join(%b, %a) as "five"
  save length(join(%b, %a)) as "their number"
  save item(%b) {index: -1} as "the last"
  save item(%b, sub(length(%b), 3)) as "the first"
  %c = append(list {of: tensor<NxNxf32>}, eye {rows: 1})
  save append(%c, eye {rows: 2}) as "of any size"
  save format(%b, length(%b), "text") {template: "{} has {} values, {{}} is {}"} as "format"
  log "a text", format([[1.5, nan]], f16(0.1), true) {template: "{} {} {}"}
}
