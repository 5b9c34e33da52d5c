// Arithmetic: broadcasting, promotion, and what has no value.
graph @ops_arithmetic {
  %x = [[1.5, -2.0], [0.0, inf]]
  %y = [2.0, nan]
  save add(%x, %y) as "add"
  save sub(%x, %y) as "sub"
  save mul(%x, %y) as "mul"
  save div(%x, [2.0, 0.0]) as "div"
  save maximum(%x, %y) as "maximum"
  save minimum(%x, 1) as "minimum"
  save neg(%x) as "neg"
  save abs(%x) as "abs"
  save div([7, -7], 2) as "true division"
  save add(u8[250], u8[10]) as "u8 wraps"
  save add([1, 2], 0.5) as "a number without dimensions"
  save mul(f16[0.1], 3.0) as "f16"
  save add(true, [1, 2]) as "bool"
  save pow([2.0, 9.0, -1.0], [10.0, 0.5, 3.0]) as "pow"
  save pow([2, -1, 7], [10, -3, -1]) as "pow of integers"
  save floor_div([7, -7, 6], [3, 3, -3]) as "floor_div"
  save remainder([7.5, -7.5, 7.5], [2.0, 2.0, -2.0]) as "remainder"
  save remainder([7, -7, 6], 3) as "remainder of integers"
  save fmod([7.5, -7.5, 7.5], [2.0, 2.0, -2.0]) as "fmod"
  save atan2([1.0, -1.0], [0.0, -1.0]) as "atan2"
  save logaddexp([0.0, 1000.0, -inf], [0.0, 1000.0, 2.0]) as "logaddexp"
}
