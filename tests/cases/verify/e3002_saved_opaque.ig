// Invariant 7: what only the user's functions understand is not saved.
graph @g {
  save call() {name: "f"} as "x"
}
