// Texts and tuples are saved as they are; a prompt that is saved stays a text.
graph @texts models { m: "induction" } {
  %p = "<s> Paris Paris"
  %f = forward(%p) {model: m}
  %l = index(read(%f) {hook: "lm_head.output"}) {dim: 1, index: -1}
  log "the prompt", %p
  save %p as "prompt"
  save tuple("the best two", topk(%l) {k: 2}) as "both"
  save tuple() as "nothing"
}
