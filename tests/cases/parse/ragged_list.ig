graph @g {
  %a = [[1, 2, 3], [4, 5]]
  %b = [1, [2]]
  %c = [[1], 2]
  %d = [1, true]
  %e = []
  %f = tensor<2x2xf32>(1, 2, 3)
  %g = [1, 2
  %h = [1 2]
  %i = tensor<Bxf32>()
}
