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
}
