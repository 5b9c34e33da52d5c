// A sweep over layers: each patched run begins where it is patched, and all travel together from there.
graph @sweep models { m: "induction" } {
  %a = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %b = forward("<s> Eiffel Rome Buckingham London Buckingham") {model: m}
  %h0 = read(%a) {hook: "model.layers.0.output"}
  %r0 = read(%b) {hook: "model.layers.0.output"}
  %v0 = update(%r0, slice(%h0) {dim: 1, start: -1}) {dim: 1, start: -1}
  %w0 = write(%b, %v0) {hook: "model.layers.0.output"}
  %l0 = read(%w0) {hook: "lm_head.output"}
  save index(%l0) {dim: 1, index: -1} as "layer 0"
  %h1 = read(%a) {hook: "model.layers.1.output"}
  %r1 = read(%b) {hook: "model.layers.1.output"}
  %v1 = update(%r1, slice(%h1) {dim: 1, start: -1}) {dim: 1, start: -1}
  %w1 = write(%b, %v1) {hook: "model.layers.1.output"}
  %l1 = read(%w1) {hook: "lm_head.output"}
  save index(%l1) {dim: 1, index: -1} as "layer 1"
  %h2 = read(%a) {hook: "model.layers.2.output"}
  %r2 = read(%b) {hook: "model.layers.2.output"}
  %v2 = update(%r2, slice(%h2) {dim: 1, start: -1}) {dim: 1, start: -1}
  %w2 = write(%b, %v2) {hook: "model.layers.2.output"}
  %l2 = read(%w2) {hook: "lm_head.output"}
  save index(%l2) {dim: 1, index: -1} as "layer 2"
  %h3 = read(%a) {hook: "model.layers.3.output"}
  %r3 = read(%b) {hook: "model.layers.3.output"}
  %v3 = update(%r3, slice(%h3) {dim: 1, start: -1}) {dim: 1, start: -1}
  %w3 = write(%b, %v3) {hook: "model.layers.3.output"}
  %l3 = read(%w3) {hook: "lm_head.output"}
  save index(%l3) {dim: 1, index: -1} as "layer 3"
}
