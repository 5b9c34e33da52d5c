// Invariant 11: symbols are named in bodies only.
graph @g {
  %r = call() {name: "f", returns: tensor<Nxf32>}
}
