// Invariant 4: a layer exists.
graph @layer_out_of_range models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  save read(%f) {hook: "model.layers.12.output"} as "h"
}
