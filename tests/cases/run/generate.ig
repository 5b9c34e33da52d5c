// Greedy, a token at a time, with the whole text each time.
graph @generate models { m: "induction" } {
  %t0 = [[0, 2, 3, 4, 5, 2]]
  %n0 = argmax(slice(read(forward(%t0) {model: m}) {hook: "lm_head.output"}) {dim: 1, start: -1}) {dim: -1}
  %t1 = cat(%t0, %n0) {dim: 1}
  %n1 = argmax(slice(read(forward(%t1) {model: m}) {hook: "lm_head.output"}) {dim: 1, start: -1}) {dim: -1}
  %t2 = cat(%t1, %n1) {dim: 1}
  %n2 = argmax(slice(read(forward(%t2) {model: m}) {hook: "lm_head.output"}) {dim: 1, start: -1}) {dim: -1}
  %t3 = cat(%t2, %n2) {dim: 1}
  %n3 = argmax(slice(read(forward(%t3) {model: m}) {hook: "lm_head.output"}) {dim: 1, start: -1}) {dim: -1}
  %t4 = cat(%t3, %n3) {dim: 1}
  save %t4 as "text"
}
