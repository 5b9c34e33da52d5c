// An applied module is a lane without tokens, and runs that module only.
graph @lens models { m: "induction" } {
  %a = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h0 = read(%a) {hook: "model.layers.1.output"}
  %h1 = read(%a) {hook: "model.layers.2.output"}
  %l0 = apply(%h0) {model: m, module: "lm_head"}
  %l1 = apply(slice(%h1) {dim: 1, start: -1}) {model: m, module: "lm_head"}
  save %l0 as "early"
  save %l1 as "late"
}
