// Invariant 2: an activation is of floats.
graph @silu_of_integers {
  save silu([1, 2, 3]) as "x"
}
