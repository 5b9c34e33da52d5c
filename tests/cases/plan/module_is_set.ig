// A module whose output is set does not run; nor does what only it needs.
graph @module_is_set models { m: "induction" } {
  %a = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %b = forward("<s> Colosseum Rome Prado Madrid Colosseum") {model: m}
  %z = read(%b) {hook: "model.layers.0.self_attn.output"}
  %w = write(%a, %z) {hook: "model.layers.0.self_attn.output"}
  %h = read(%w) {hook: "model.layers.0.output"}
  save %h as "h"
}
