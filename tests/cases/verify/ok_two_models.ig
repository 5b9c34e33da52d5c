// Invariant 1: two names for one model, and a module of each.
graph @two_models models { m: "induction", n: "induction" } {
  %a = forward("<s> Paris Paris") {model: m}
  %b = forward("<s> Rome Rome") {model: "n"}
  %w = write(%b, read(%a) {hook: "model.layers.1.output"}) {hook: "model.layers.1.output"}
  save apply(read(%w) {hook: "model.output"}) {model: m, module: "lm_head"} as "logits"
}
