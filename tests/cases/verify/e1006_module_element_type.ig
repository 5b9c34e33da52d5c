// Invariant 2: a module takes values of its element type.
graph @module_element_type models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "model.layers.1.output"}
  save apply(cast(%h) {dtype: bf16}) {model: m, module: "lm_head"} as "lens"
}
