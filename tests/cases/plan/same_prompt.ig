// Forwards on the same tokens are one lane, and equal values one value.
graph @same_prompt models { m: "induction" } {
  %a = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %b = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %x = read(%a) {hook: "model.layers.3.output"}
  %y = read(%b) {hook: "model.layers.3.output"}
  save sum(%x) as "a"
  save sum(%y) as "b"
}
