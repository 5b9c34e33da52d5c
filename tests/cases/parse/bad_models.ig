graph @g models { m: smollm2 } {
  %a = forward("Hello") {model: m}
}
