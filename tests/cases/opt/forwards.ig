// The laws of forwards: two prompts that are equal, a write that is read, one that reaches nothing, one that changes nothing.
graph @forwards models { m: "induction" } {
  %a = forward("<s> Eiffel Paris Eiffel") {model: m}
  %b = forward("<s> Eiffel Paris Eiffel") {model: m}
  %h = read(%a) {hook: "model.layers.1.output"}
  %w = write(%b, mul(%h, 2.0)) {hook: "model.layers.1.output"}
  save read(%w) {hook: "model.layers.1.output"} as "what was written"
  save read(%w) {hook: "model.layers.0.output"} as "before it"
  save read(%w) {hook: "model.layers.2.input"} as "the same by another name"
  %same = write(%b, %h) {hook: "model.layers.1.output"}
  save read(%same) {hook: "lm_head.output"} as "nothing changed"
  %x = write(%w, %h) {hook: "model.layers.0.output"}
  save read(%x) {hook: "lm_head.output"} as "hidden"
  save read(%x) {hook: "model.layers.0.self_attn.output"} as "beside"
}
