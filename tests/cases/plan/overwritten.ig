// A write that another hides is not computed.
graph @overwritten models { m: "induction" } {
  %a = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %x = read(%a) {hook: "model.layers.0.output"}
  %u = write(%a, neg(%x)) {hook: "model.layers.0.output"}
  %v = write(%u, %x) {hook: "model.layers.1.output"}
  %h = read(%v) {hook: "model.layers.2.output"}
  save %h as "h"
}
