// Each lint once, beside something like it that is meant.
graph @all models { m: "induction" } {
  %a = forward([[1, 2, 3], [0, 0, 4]]) {model: m}
  %h = read(%a) {hook: "model.layers.1.output"}
  %unread = write(%a, mul(%h, 2.0)) {hook: "model.layers.3.output"}
  %read = write(%a, mul(%h, 2.0)) {hook: "model.layers.1.output"}
  %b = forward([[1, 2, 3], [0, 0, 4]]) {model: m}
  %g = read(%b) {hook: "model.layers.1.output"}
  save sub(%h, %g) as "nothing"
  save sub(%h, read(%read) {hook: "model.layers.1.output"}) as "something"
  save add([1.0, 2.0], 3.0) as "constant"
  save index(%h) {dim: 1, index: 0} as "padding"
  save index(%h) {dim: 1, index: -1} as "last"
}
