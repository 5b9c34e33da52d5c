graph @g models { m: "smollm2" } {
  %a = forward("Hello) {model: m}
  %h = read(%a {hook: "model.layers.1.output"}
  %x = slice(%h) {dim 1}
  %y = expo(%x)
  save %y "y"
  log %x, %y
}
