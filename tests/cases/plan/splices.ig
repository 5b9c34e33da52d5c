// Splices: writes whose operations an engine can put into the stage that computes the hook, and writes for which it need not.
graph @splices models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %x = read(%f) {hook: "model.layers.1.self_attn.output"}
  %w = write(%f, relu(%x)) {hook: "model.layers.1.self_attn.output"}

  // Over what the same forward wrote before, in part, beside a value from elsewhere.
  %y = read(%w) {hook: "model.layers.2.self_attn.output"}
  %v = read(%f) {hook: "model.layers.0.output"}
  %part = div(slice(%y) {dim: 2, start: 8}, slice(%v) {dim: 2, start: 8})
  %g = write(%w, update(clamp(%y) {min: -1.0}, %part) {dim: 2, start: 8}) {hook: "model.layers.2.self_attn.output"}
  save read(%g) {hook: "lm_head.output"} as "twice"

  // What is shown has been computed without the write, and what comes of it is given.
  %h = forward("London Paris Eiffel London Paris Eiffel") {model: m}
  %shown = read(%h) {hook: "model.layers.1.self_attn.output"}
  save read(write(%h, abs(%shown)) {hook: "model.layers.1.self_attn.output"}) {hook: "lm_head.output"} as "given"
  save %shown as "shown"
}
