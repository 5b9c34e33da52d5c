graph patch models { m: "smollm2" } {
  %a = forward("Hello") {model: m}
  %b = nge(%a)
}
