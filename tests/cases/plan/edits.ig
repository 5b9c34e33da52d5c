// Edits: writes that an engine can make where it computes the hook, and writes that it cannot.
graph @edits models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %x = read(%f) {hook: "model.layers.1.self_attn.output"}
  %v = slice(read(%f) {hook: "model.layers.0.output"}) {dim: 1, start: 1, end: 2}
  %last = slice(%x) {dim: 1, start: -1}

  // In part and whole: replaced, added to, scaled, subtracted from, several in a row.
  %replaced = update(%x, %v) {dim: 1, start: -1}
  %added = update(%x, add(%last, %v)) {dim: 1, start: -1}
  %scaled = mul(0.5, %x)
  %affine = sub(mul(%x, -2), %v)
  %inner = update(%x, update(%last, mul(slice(%last) {dim: 2, start: 8, end: 24, step: 3}, 1.5)) {dim: 2, start: 8, end: 24, step: 3}) {dim: 1, start: -1}
  %then = add(update(%x, %v) {dim: 1, start: 0, end: 1}, %v)
  %twice = mul(update(%x, %v) {dim: 1, start: 2, end: 4}, 3)
  %square = mul(%x, %x)

  // A sum is not scaled; what comes from another place is a value like any other; what mixes places is no edit.
  %sum = mul(add(%x, %v), 2)
  %moved = update(%x, slice(%x) {dim: 1, start: 0, end: 1}) {dim: 1, start: -1}
  %mixed = softmax(%x) {dim: -1}
  %elsewhere = add(read(%f) {hook: "model.layers.0.self_attn.output"}, %v)

  save read(write(%f, %replaced) {hook: "model.layers.1.self_attn.output"}) {hook: "lm_head.output"} as "replaced"
  save read(write(%f, %added) {hook: "model.layers.1.self_attn.output"}) {hook: "lm_head.output"} as "added"
  save read(write(%f, %scaled) {hook: "model.layers.1.self_attn.output"}) {hook: "lm_head.output"} as "scaled"
  save read(write(%f, %affine) {hook: "model.layers.1.self_attn.output"}) {hook: "lm_head.output"} as "affine"
  save read(write(%f, %inner) {hook: "model.layers.1.self_attn.output"}) {hook: "lm_head.output"} as "inner"
  save read(write(%f, %then) {hook: "model.layers.1.self_attn.output"}) {hook: "lm_head.output"} as "then"
  save read(write(%f, %twice) {hook: "model.layers.1.self_attn.output"}) {hook: "lm_head.output"} as "twice"
  save read(write(%f, %square) {hook: "model.layers.1.self_attn.output"}) {hook: "lm_head.output"} as "square"
  save read(write(%f, %sum) {hook: "model.layers.1.self_attn.output"}) {hook: "lm_head.output"} as "sum"
  save read(write(%f, %moved) {hook: "model.layers.1.self_attn.output"}) {hook: "lm_head.output"} as "moved"
  save read(write(%f, %mixed) {hook: "model.layers.1.self_attn.output"}) {hook: "lm_head.output"} as "mixed"
  save read(write(%f, %elsewhere) {hook: "model.layers.1.self_attn.output"}) {hook: "lm_head.output"} as "elsewhere"

  // Over what the same forward wrote before; of two hooks on one value, the earlier one is read as it was.
  %g = write(%f, %scaled) {hook: "model.layers.1.self_attn.output"}
  %h = write(%g, add(read(%g) {hook: "model.layers.2.self_attn.output"}, %v)) {hook: "model.layers.2.self_attn.output"}
  save read(%h) {hook: "lm_head.output"} as "after another"
  save read(%h) {hook: "model.layers.2.self_attn.o_proj.output"} as "before"
  %stale = write(%g, add(read(%f) {hook: "model.layers.2.self_attn.output"}, %v)) {hook: "model.layers.2.self_attn.output"}
  save read(%stale) {hook: "lm_head.output"} as "of another forward"

  // What ends a stage is given, so that it is computed once for all.
  %end = write(%f, mul(read(%f) {hook: "model.layers.1.output"}, 2)) {hook: "model.layers.1.output"}
  save read(%end) {hook: "lm_head.output"} as "end"
}
