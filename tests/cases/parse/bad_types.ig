graph @g {
  %a = 1 : tensor<1x9xfloat32>
  %b = 1 : tensor<bxtxf32>
  %c = 1 : tensor<T-1xf32>
  %d = 1 : f32
  %e = 1 : tensr<f32>
  %f = 1 : tensor<9999999999999999xf32>
  %h = 1 : (tensor<f32>, str
  %i = 1 : tensor<1x9>
  %j = 1 : list<str
  %k = 1 : forward<m>
}
