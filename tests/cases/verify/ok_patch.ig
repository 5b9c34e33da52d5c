// Invariant 4: the example of the design, on the toy.
graph @patch models { m: "induction" } {
  %a = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%a) {hook: "model.layers.3.output"} : tensor<1x6x64xf32>
  %x = slice(%h) {dim: 1, start: -1}
  %b = forward("<s> Colosseum Rome Prado Madrid Colosseum") {model: m}
  %r = read(%b) {hook: "model.layers.1.output"}
  %w = write(%b, update(%r, %x) {dim: 1, start: -1}) {hook: "model.layers.1.output"}
  save argmax(read(%w) {hook: "lm_head.output"}) {dim: -1} as "t2"
  log "probabilities", softmax(read(%w) {hook: "lm_head.output"}) {dim: -1}
}
