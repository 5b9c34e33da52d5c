// Invariant 4: hooks are leaves; what else a module returns may have a hook of its own.
graph @no_hooks models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  save read(%f) {hook: "model.layers.-1.self_attn.output[1]"} as "h"
  save read(%f) {hook: "blocks.2.attn.hook_attn_scores"} as "s"
}
