// Invariant 3: inputs stand inside models.
graph @input models { m: "induction" } {
  %t = input {name: "tokens", dtype: i64, shape: [B, T]}
  save %t as "tokens"
}
