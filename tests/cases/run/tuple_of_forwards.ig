// A loop carries forwards by themselves.
graph @tuples models { m: "induction" } {
  %f = forward([[0, 2, 3]]) {model: m}
  %r = loop(tuple(%f, 1)) {trip: 2} (%i, %t) {
    yield %t
  }
  save read(get(get(%r) {index: 0}) {index: 0}) {hook: "lm_head.output"} as "x"
}
