// The positions of an extended forward are those of the long one.
graph @extend models { m: "induction" } {
  %a = forward([[0, 2, 3, 4]]) {model: m}
  %b = extend(%a, [[5, 2]])
  %c = extend(%b, [[3]])
  %long = forward([[0, 2, 3, 4, 5, 2, 3]]) {model: m}
  %pb = read(%b) {hook: "model.layers.2.self_attn.pattern"}
  %pl = slice(slice(read(%long) {hook: "model.layers.2.self_attn.pattern"}) {dim: 2, start: 4, end: 6}) {dim: 3, end: 6}
  save min(eq(%pb, %pl)) as "equal patterns"
  %lb = read(%c) {hook: "lm_head.output"}
  save min(eq(%lb, slice(read(%long) {hook: "lm_head.output"}) {dim: 1, start: 6})) as "equal logits"
  save argmax(%lb) {dim: -1} as "next"
  save read(%b) {hook: "model.layers.2.self_attn.pattern"} as "pattern"
}
