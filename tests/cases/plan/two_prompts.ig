// Different prompts are lanes of their own, and go through each stage together.
graph @two_prompts models { m: "induction" } {
  %a = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %b = forward("<s> Paris Paris") {model: m}
  save read(%a) {hook: "model.layers.1.output"} as "a"
  save read(%b) {hook: "model.layers.0.output"} as "b"
}
