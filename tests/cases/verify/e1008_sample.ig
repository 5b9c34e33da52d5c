// Invariant 2: what is drawn from has a temperature above 0.
graph @draw {
  save sample([0.5, 1.0]) {seed: 1, temperature: 0.0} as "cold"
}
