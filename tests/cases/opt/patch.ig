// A patch: one position is replaced, one is looked at. What nobody asks for is gone.
graph @patch models { m: "induction" } {
  %a = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%a) {hook: "model.layers.3.output"}
  %unused = softmax(%h) {dim: -1}
  %x = slice(%h) {dim: 1, start: -1}
  %b = forward("<s> Colosseum Rome Prado Madrid Colosseum") {model: m}
  %r = read(%b) {hook: "model.layers.1.output"}
  %v = update(%r, %x) {dim: 1, start: -1}
  %w = write(%b, %v) {hook: "model.layers.1.output"}
  %l = read(%w) {hook: "lm_head.output"}
  %p = softmax(%l) {dim: -1}
  save index(index(%p) {dim: 0, index: 0}) {dim: 0, index: -1} as "last"
  save slice(sub(%p, 0.5)) {dim: 1, start: -1} as "shifted"
}
