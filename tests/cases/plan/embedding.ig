// The embedding alone is one stage.
graph @embedding models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  save read(%f) {hook: "model.embed_tokens.output"} as "h"
}
