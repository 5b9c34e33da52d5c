// Nothing to say: a chain of writes, patches between prompts that begin alike, rows of one length that are not padded.
graph @ok models { m: "induction" } {
  %a = forward([[1, 2, 3], [1, 2, 4]]) {model: m}
  %b = forward([[1, 5, 3], [1, 5, 4]]) {model: m}
  %x = index(read(%a) {hook: "model.layers.1.output"}) {dim: 1, index: 1}
  %w = write(%b, update(read(%b) {hook: "model.layers.1.output"}, unsqueeze(%x) {dim: 1}) {dim: 1, start: 1, end: 2}) {hook: "model.layers.1.output"}
  %v = write(%w, mul(read(%w) {hook: "model.layers.3.output"}, 2.0)) {hook: "model.layers.3.output"}
  save sub(read(%v) {hook: "lm_head.output"}, read(%b) {hook: "lm_head.output"}) as "difference"
}
