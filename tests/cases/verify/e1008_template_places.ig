// Invariant 2: each operand has a place.
graph @template_places {
  save format(1, 2) {template: "{}"} as "x"
}
