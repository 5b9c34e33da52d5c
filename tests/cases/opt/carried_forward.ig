// A forward that a loop carries may be written where nobody sees it: a hook is not the one before it there, and a module is not
// what comes out of it. Forwards of the program itself are known.
graph @carried models { m: "induction" } {
  %f = forward("<s> Eiffel Paris") {model: m}
  do loop(%f) {trip: 2} (%i, %g) {
    %h = read(%g) {hook: "model.layers.1.input"}
    log %h
    log apply(read(%g) {hook: "model.layers.1.output"}) {model: m, module: "lm_head"}
    yield write(%g, mul(%h, 2.0)) {hook: "model.layers.1.input"}
  }
  save read(%f) {hook: "model.layers.1.input"} as "h"
}
