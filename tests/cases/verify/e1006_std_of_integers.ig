// Invariant 2: a spread is one of floats.
graph @std_of_integers {
  save std([1, 2, 3]) as "x"
}
