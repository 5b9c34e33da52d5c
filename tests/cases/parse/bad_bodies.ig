graph @g models { m: "induction" } {
  %x = 1
  %y = 2
  %a = loop(%x) {trip: 2} (%i, %x) {
    %z = add(%x, %y)
    %w = mul(%z, %later)
    yield %w
    %later = 3
  }
  %b = loop(%x) {trip: 2} (%i, %x) {
    log "no value", %x
  }
  %c = loop(%x) {trip: 2} {
    yield %x
  }
  %d = loop(%x) {trip: 2} () {
    yield %x
  }
  %e = loop(%x) {trip: 2} (%i, %x) {
    until eq(%x, 2)
    until eq(%x, 3)
    yield %x
  }
  %f = loop(%x) {trip: 2} (%i, %x, x) {
    yield %x
  }
  %h = loop(%x) {trip: 2} (%i, %i) {
    yield %i
  }
  %k = loop(%x) (%i, %x) { yield %x }
  %l = loop(%x) {trip: 2, body: 3} (%i, %x) { yield %x }
  %o = loop(%x) {trip: 2} (%i) { yield %i, %i }
  %p = loop(%x) {trip: 2} (%i, %x: tensor<NxF32>) {
    yield %x
  }
  %q = add(%a, %b)
  yield %x
  until %x
  save foo(%x) as "still read"
}
