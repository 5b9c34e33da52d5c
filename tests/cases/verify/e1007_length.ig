// Invariant 6: a claimed shape is right.
graph @length models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"} : tensor<1x7x64xf32>
  save %h as "h"
}
