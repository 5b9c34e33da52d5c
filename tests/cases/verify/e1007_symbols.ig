// Invariant 6: sizes that are known are not symbols.
graph @symbols models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"} : tensor<1xTx64xf32>
  save %h as "h"
}
