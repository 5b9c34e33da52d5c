// A value of one model in another.
graph @two_models models { m: "induction", n: "induction" } {
  %a = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %b = forward("<s> Colosseum Rome Prado Madrid Colosseum") {model: n}
  %w = write(%b, read(%a) {hook: "model.layers.3.output"}) {hook: "model.layers.3.output"}
  save argmax(index(read(%w) {hook: "lm_head.output"}) {dim: 1, index: -1}) {dim: -1} as "Paris"
}
