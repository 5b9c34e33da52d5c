// First the question of the other prompt moves, then its answer; see the toy's documentation.
graph @sweep models { m: "induction" } {
  %a = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %b = forward("<s> Eiffel Rome Buckingham London Buckingham") {model: m}
  %r0 = read(%b) {hook: "model.layers.0.input"}
  %v0 = update(%r0, slice(read(%a) {hook: "model.layers.0.input"}) {dim: 1, start: -1}) {dim: 1, start: -1}
  %l0 = read(write(%b, %v0) {hook: "model.layers.0.input"}) {hook: "lm_head.output"}
  %p0 = softmax(index(%l0) {dim: 1, index: -1}) {dim: -1}
  %r1 = read(%b) {hook: "model.layers.0.output"}
  %v1 = update(%r1, slice(read(%a) {hook: "model.layers.0.output"}) {dim: 1, start: -1}) {dim: 1, start: -1}
  %l1 = read(write(%b, %v1) {hook: "model.layers.0.output"}) {hook: "lm_head.output"}
  %p1 = softmax(index(%l1) {dim: 1, index: -1}) {dim: -1}
  %r2 = read(%b) {hook: "model.layers.1.output"}
  %v2 = update(%r2, slice(read(%a) {hook: "model.layers.1.output"}) {dim: 1, start: -1}) {dim: 1, start: -1}
  %l2 = read(write(%b, %v2) {hook: "model.layers.1.output"}) {hook: "lm_head.output"}
  %p2 = softmax(index(%l2) {dim: 1, index: -1}) {dim: -1}
  %r3 = read(%b) {hook: "model.layers.2.output"}
  %v3 = update(%r3, slice(read(%a) {hook: "model.layers.2.output"}) {dim: 1, start: -1}) {dim: 1, start: -1}
  %l3 = read(write(%b, %v3) {hook: "model.layers.2.output"}) {hook: "lm_head.output"}
  %p3 = softmax(index(%l3) {dim: 1, index: -1}) {dim: -1}
  %r4 = read(%b) {hook: "model.layers.3.output"}
  %v4 = update(%r4, slice(read(%a) {hook: "model.layers.3.output"}) {dim: 1, start: -1}) {dim: 1, start: -1}
  %l4 = read(write(%b, %v4) {hook: "model.layers.3.output"}) {hook: "lm_head.output"}
  %p4 = softmax(index(%l4) {dim: 1, index: -1}) {dim: -1}
  %all = cat(%p0, %p1, %p2, %p3, %p4) {dim: 0}
  save index(%all) {dim: 1, index: 3} as "Paris"
  save index(%all) {dim: 1, index: 7} as "Rome"
}
