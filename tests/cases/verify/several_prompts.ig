// Invariant 5: prompts are reported in their place.
graph @prompts models { m: "induction" } {
  %x = add([1, 2], [1, 2, 3])
  %a = forward("<s> Eifel") {model: m}
  %y = silu(1)
  %b = forward("") {model: m}
  save add(%x, %y) as "never"
  save read(%a) {hook: "x"} as "a"
  save read(%b) {hook: "x"} as "b"
}
