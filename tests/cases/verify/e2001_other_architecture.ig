// Invariant 4: a hook of another family of models.
graph @other_architecture models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  save read(%f) {hook: "transformer.h.1.output"} as "h"
}
