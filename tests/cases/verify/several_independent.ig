// Invariant 4: all that is wrong is said at once, in the order of the program.
graph @independent models { m: "induction" } {
  %a = forward("<s> Eiffel Paris") {model: m}
  %h = read(%a) {hook: "model.layer.1.output"}
  %b = forward([[0, 99]]) {model: m}
  %x = reshape([1, 2, 3]) {shape: [2, 2]}
  %l = read(%a) {hook: "lm_head.output"} : tensor<1x3x15xf32>
  save index(%l) {dim: 1, index: 3} as "last"
  save softmax(%l) {dim: 7} as "last"
  log %a
}
