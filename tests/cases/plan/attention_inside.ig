// Hooks inside attention are values of its stage.
graph @attention_inside models { m: "induction" } {
  %a = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %p = read(%a) {hook: "model.layers.2.self_attn.pattern"}
  %w = write(%a, mul(%p, 0.5)) {hook: "model.layers.2.self_attn.pattern"}
  %z = read(%w) {hook: "model.layers.2.self_attn.z"}
  save %z as "z"
}
