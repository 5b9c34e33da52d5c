// The prediction of one forward as the tokens of the next.
graph @next_token models { m: "induction" } {
  %a = forward("<s> Eiffel Paris Eiffel") {model: m}
  %l = read(%a) {hook: "lm_head.output"}
  %ids = argmax(%l) {dim: -1}
  %b = forward(%ids) {model: m}
  %h = read(%b) {hook: "model.layers.0.input"}
  save %h as "h"
}
