// A write changes nothing before it: the read is of the run without it.
graph @write_after_read models { m: "induction" } {
  %a = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %w = write(%a, mul(read(%a) {hook: "model.layers.2.output"}, 2.0)) {hook: "model.layers.2.output"}
  %h = read(%w) {hook: "model.layers.1.output"}
  save %h as "h"
}
