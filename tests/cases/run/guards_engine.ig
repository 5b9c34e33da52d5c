// The same without loops, and with a model: on the engine, too.
graph @guards models { m: "induction" } {
  %f = forward([[0, 2, 3, 4, 5, 2]]) {model: m}
  %n = argmax(slice(read(%f) {hook: "lm_head.output"}) {dim: 1, start: -1}) {dim: -1}
  %three = eq(%n, 3)
  %failed = call() {name: "fail", returns: tensor<1x1xi64>}
  save %failed as "never" if not(%three)
  %t = do call(%n) {name: "show", returns: tensor<1x1xi64>} if %three else %failed
  %u = do call(%failed) {name: "show", returns: tensor<1x1xi64>} if not(%three) else %n
  %g = forward(cat([[0, 2, 3, 4, 5, 2]], %t) {dim: 1}) {model: m}
  save argmax(slice(read(%g) {hook: "lm_head.output"}) {dim: 1, start: -1}) {dim: -1} as "after what was shown"
  save %u as "else"
}
