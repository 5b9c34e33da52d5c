// Invariant 4: a hook exists.
graph @misspelt_hook models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  save read(%f) {hook: "model.layers.1.ouput"} as "h"
}
