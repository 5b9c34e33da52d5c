// A patch from one prompt into another: the rest of the second waits for the first.
graph @patch models { m: "induction" } {
  %a = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%a) {hook: "model.layers.3.output"}
  %x = slice(%h) {dim: 1, start: -1}
  %b = forward("<s> Colosseum Rome Prado Madrid Colosseum") {model: m}
  %r = read(%b) {hook: "model.layers.1.output"}
  %v = update(%r, %x) {dim: 1, start: -1}
  %w = write(%b, %v) {hook: "model.layers.1.output"}
  %l = read(%w) {hook: "lm_head.output"}
  save argmax(%l) {dim: -1} as "t2"
}
