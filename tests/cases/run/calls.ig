// Equal calls among the effects are each made; among the values, one may stand for all. State goes through calls as data.
graph @calls {
  %a = do call() {name: "count", returns: tensor<i64>}
  %b = do call() {name: "count", returns: tensor<i64>}
  do call() {name: "count", returns: tensor<i64>}
  %c = do call() {name: "count", returns: tensor<i64>}
  save tuple(%a, %b, %c) as "counts"
  %s = do call() {name: "start"}
  %s1 = do call(%s, [1, 2]) {name: "push"}
  %s2 = do call(%s1, 4) {name: "push"}
  save call(%s2) {name: "total", returns: tensor<i64>} as "total"
  save call(%s1) {name: "total", returns: tensor<i64>} as "total before"
  save add(call(%s2) {name: "total", returns: tensor<i64>}, 1) as "pure"
  save call("text") {name: "show", returns: str} as "text"
}
