// Effects keep their order, whatever is there first.
graph @effects models { m: "induction" } {
  %a = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %late = read(%a) {hook: "lm_head.output"}
  %early = read(%a) {hook: "model.layers.0.input"}
  log "first", sum(%late)
  log sum(%early)
  save %early as "early"
}
