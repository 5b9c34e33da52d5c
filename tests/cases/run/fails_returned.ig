// What a function returns is of the type that the program says.
graph @fails {
  %x = do call([1.0, 2.0]) {name: "show", returns: tensor<3xf32>}
  save %x as "x"
}
