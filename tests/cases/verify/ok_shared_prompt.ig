// Invariant 5: a text that is a prompt and more stays a text.
graph @shared_prompt models { m: "induction", n: "induction" } {
  %p = "<s> Paris Paris" : str
  %a = forward(%p) {model: m}
  %b = forward(%p) {model: n}
  save %p as "prompt"
  save read(%a) {hook: "lm_head.output"} as "a"
  save read(%b) {hook: "lm_head.output"} as "b"
}
