// The end of a text ends a loop: in its first iteration, in its third, never.
graph @until models { m: "induction" } {
  %f = forward([[0, 2, 3, 4, 5, 2]]) {model: m}
  %t = argmax(slice(read(%f) {hook: "lm_head.output"}) {dim: 1, start: -1}) {dim: -1}
  %a = loop(%f, %t, tensor<1x0xi64>()) {trip: 6} (%i, %f: forward<m, 1xT after P>, %t, %all: tensor<1xNxi64>) {
    %g = extend(%f, %t)
    %n = argmax(read(%g) {hook: "lm_head.output"}) {dim: -1}
    until eq(%n, 4)
    yield %g, %n, cat(%all, %n) {dim: 1}
  }
  save get(%a) {index: 2} as "at once"
  %b = loop(%f, %t, tensor<1x0xi64>()) {trip: 6} (%i, %f: forward<m, 1xT after P>, %t, %all: tensor<1xNxi64>) {
    %g = extend(%f, %t)
    %n = argmax(read(%g) {hook: "lm_head.output"}) {dim: -1}
    until eq(%n, 2)
    yield %g, %n, cat(%all, %n) {dim: 1}
  }
  save get(%b) {index: 2} as "third"
  %c = loop(%f, %t, tensor<1x0xi64>()) {trip: 6} (%i, %f: forward<m, 1xT after P>, %t, %all: tensor<1xNxi64>) {
    %g = extend(%f, %t)
    %n = argmax(read(%g) {hook: "lm_head.output"}) {dim: -1}
    until eq(%n, 0)
    yield %g, %n, cat(%all, %n) {dim: 1}
  }
  save get(%c) {index: 2} as "never"
}
