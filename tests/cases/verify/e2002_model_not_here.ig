// Invariant 1: a declared model is known; what depends on it is not reported again.
graph @model_not_here models { m: "inductoin" } {
  %f = forward("The Eiffel Tower") {model: m}
  %h = read(%f) {hook: "no.such.hook"}
  save apply(%h) {model: m, module: "lm_head"} as "lens"
}
