// What is the same in every iteration is computed before the loop; what may fail only where it would have failed anyway.
graph @loops models { m: "induction" } {
  %c = random_normal {shape: [1, 4, 64], seed: 0}
  %t = argmax(random_normal {shape: [1, 4, 9], seed: 1}) {dim: -1}
  %l = loop(%c, %c, 5) {trip: 3} (%i, %x, %c, %unused) {
    %f = write(forward("<s> Eiffel Paris Eiffel") {model: m}, mul(%c, %c)) {hook: "model.layers.0.output"}
    yield add(%x, read(%f) {hook: "model.layers.1.output"})
  }
  save get(%l) {index: 0} as "sum"
  do loop(%c, %t) {trip: 2} (%i, %c, %t) {
    log exp(%c)
    log gather(%c, reshape(%t) {shape: [1, 4, 1]}) {dim: 2} if gt(%i, 5)
    yield
  }
}
