// Invariant 7: saves have different names.
graph @name_twice models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save %h as "h"
  save sum(%h) as "h"
}
