// Invariant 4: hooks are leaves, never tuples; the first of a tuple is one, as in Python.
graph @first_of_tuple models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  save read(%f) {hook: "model.layers.1.output[0]"} as "h"
}
