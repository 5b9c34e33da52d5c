// Invariant 4: a module is no hook.
graph @module_for_hook models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  save read(%f) {hook: "model.layers.1.self_attn"} as "h"
}
