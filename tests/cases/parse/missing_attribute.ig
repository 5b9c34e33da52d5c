graph @g models { m: "smollm2" } {
  %a = forward("Hello") {model: m}
  %h = read(%a)
  %x = slice(%h) {start: -1}
}
