// Integers have no quotient by 0.
graph @fails_division {
  save remainder([7, 8], [2, 0]) as "never"
}
