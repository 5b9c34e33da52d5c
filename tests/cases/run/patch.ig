// The last layer's residual of one prompt in an early layer of another: its answer comes along.
graph @patch models { m: "induction" } {
  %a = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%a) {hook: "model.layers.3.output"}
  %x = slice(%h) {dim: 1, start: -1}
  %b = forward("<s> Colosseum Rome Prado Madrid Colosseum") {model: m}
  %r = read(%b) {hook: "model.layers.1.output"}
  %w = write(%b, update(%r, %x) {dim: 1, start: -1}) {hook: "model.layers.1.output"}
  log "by itself", argmax(index(read(%b) {hook: "lm_head.output"}) {dim: 1, index: -1}) {dim: -1}
  log argmax(index(read(%w) {hook: "lm_head.output"}) {dim: 1, index: -1}) {dim: -1}
  save index(read(%w) {hook: "lm_head.output"}) {dim: 1, index: -1} as "logits"
}
