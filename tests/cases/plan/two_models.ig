// Models have their own stages.
graph @two_models models { m: "induction", n: "induction" } {
  %a = forward("<s> Paris") {model: m}
  %b = forward("<s> Paris") {model: n}
  %x = read(%a) {hook: "model.layers.0.output"}
  %w = write(%b, %x) {hook: "model.layers.0.output"}
  %h = read(%w) {hook: "model.layers.1.output"}
  save %h as "h"
}
