// Invariant 2: arithmetic is of tensors.
graph @forward_for_tensor models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  save mul(%f, 2) as "double"
}
