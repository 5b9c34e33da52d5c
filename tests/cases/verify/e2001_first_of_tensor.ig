// Invariant 4: hooks are leaves; of a module that returns a tensor, the first is a row.
graph @first_of_tensor models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  save read(%f) {hook: "model.layers.1.self_attn.o_proj.output[0]"} as "h"
}
