// Slices meet, overtake updates and joins, and move to where values come from; far-apart ones are two.
graph @parts {
  %x = random_normal {shape: [4, 40, 8], seed: 0}
  %y = exp(mul(%x, 0.5))
  save index(%y) {dim: 1, index: 0} as "first"
  save index(%y) {dim: 1, index: -1} as "last"
  %u = update(%x, 1.0) {dim: 1, start: 10, end: 20}
  save slice(slice(%u) {dim: 1, start: 12}) {dim: 1, end: 4} as "replaced"
  save slice(%u) {dim: 1, start: 20} as "beside"
  save slice(%u) {dim: 1, start: 15, end: 25} as "across"
  %c = cat(%x, neg(%x)) {dim: 0}
  save slice(%c) {dim: 0, start: 3, end: 6} as "joined"
  save slice(transpose(%x) {dim0: 0, dim1: 1}) {dim: 0, start: 30} as "turned"
  save slice(reshape(%x) {shape: [4, 40, 2, 4]}) {dim: 2, end: 1} as "a head"
}
