// The example of the design, with a nested call, a log and comments.
graph @patch models { m: "smollm2" } {
  %a = forward("The Eiffel Tower is in the city of") {model: m}
  %h = read(%a) {hook: "model.layers.29.output"}            : tensor<1x9x576xf32>
  %x = slice(%h) {dim: 1, start: -1}
  %b = forward("Buckingham Palace is in the city of") {model: m}
  %r = read(%b) {hook: "model.layers.1.output"}
  %w = write(%b, update(%r, %x) {dim: 1, start: -1}) {hook: "model.layers.1.output"}
  log "the source", argmax(%x)                              // a log with a label
  save argmax(read(%w) {hook: "lm_head.output"}) {dim: -1} as "t2"
}
