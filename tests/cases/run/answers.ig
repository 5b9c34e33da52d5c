// The toy says what followed the same word before; `?` where nothing did.
graph @answers models { m: "induction" } {
  %l0 = index(read(forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}) {hook: "lm_head.output"}) {dim: 1, index: -1}
  save argmax(%l0) {dim: -1} as "Paris is 3"
  %l1 = index(read(forward("<s> Colosseum Rome Prado Madrid Colosseum") {model: m}) {hook: "lm_head.output"}) {dim: 1, index: -1}
  save argmax(%l1) {dim: -1} as "Rome is 7"
  %l2 = index(read(forward("<s> Eiffel is in Paris Eiffel is in") {model: m}) {hook: "lm_head.output"}) {dim: 1, index: -1}
  save argmax(%l2) {dim: -1} as "Paris again"
  %l3 = index(read(forward("<s> Paris Rome") {model: m}) {hook: "lm_head.output"}) {dim: 1, index: -1}
  save argmax(%l3) {dim: -1} as "nothing matches: ? is 1"
  %l4 = index(read(forward("<s> Eiffel Paris Eiffel Rome Eiffel") {model: m}) {hook: "lm_head.output"}) {dim: 1, index: -1}
  save argmax(%l4) {dim: -1} as "two answers: the first of the vocabulary"
  save softmax(%l4) {dim: -1} as "both have a half"
}
