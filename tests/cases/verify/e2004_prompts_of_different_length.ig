// Invariant 5: a forward has rows of one length; prompts of different length are forwards of their own.
graph @lengths models { m: "induction" } {
  %f = forward(["<s> Eiffel Paris", "<s> Prado", "<s> Rome Athens"]) {model: m}
  save read(%f) {hook: "lm_head.output"} as "h"
}
