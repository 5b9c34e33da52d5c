// Invariant 2: gelu has one approximation.
graph @gelu_approximate {
  save gelu([1.0]) {approximate: sigmoid} as "y"
}
