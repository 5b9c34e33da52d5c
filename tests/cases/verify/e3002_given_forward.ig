// Invariant 7: a forward cannot be given to a function of the user's.
graph @g models { m: "induction" } {
  %f = forward([[1, 2, 3]]) {model: m}
  do call(tuple(1, %f)) {name: "f"}
}
