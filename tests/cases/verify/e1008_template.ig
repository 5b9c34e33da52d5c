// Invariant 2: a brace is a place or doubled.
graph @template {
  save format(1) {template: "{0}"} as "x"
}
