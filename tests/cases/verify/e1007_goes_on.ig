// Invariant 6: what follows is checked with the type that it has.
graph @goes_on models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %h = read(%f) {hook: "lm_head.output"} : tensor<1x6x64xf32>
  %w = write(%f, %h) {hook: "lm_head.output"}
  save add(read(%w) {hook: "lm_head.output"}, %h) as "logits"
}
