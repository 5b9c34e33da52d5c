// Only what comes before the hook runs.
graph @read_early models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  save read(%f) {hook: "model.layers.1.output"} as "h"
}
