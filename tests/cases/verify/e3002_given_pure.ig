// Invariant 7: nor to one without effects.
graph @g models { m: "induction" } {
  %x = call(forward([[1, 2, 3]]) {model: m}) {name: "f"}
}
