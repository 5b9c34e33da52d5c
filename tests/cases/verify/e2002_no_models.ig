// Invariant 1: a program without models cannot run one.
graph @no_models {
  save read(forward([[0, 2, 3]]) {model: m}) {hook: "lm_head.output"} as "logits"
}
