// Arithmetic that is done, or changes nothing. x + 0 is not x where x is -0, and x * 0 is not 0 where x is not finite.
graph @numbers {
  %x = random_normal {shape: [4], seed: 0}
  save add(%x, mul(2.0, 0.25)) as "constants"
  save mul(add(%x, -0.0), div(4.0, 4.0)) as "unchanged"
  save add(%x, 0.0) as "not the same"
  save mul(%x, 0.0) as "not zero"
  save neg(neg(%x)) as "twice"
  save cast(cast(%x) {dtype: f64}) {dtype: f32} as "there and back"
  save select(true, %x, neg(%x)) as "chosen"
  save floor_div([1, 2], [0, 1]) as "fails where it runs"
}
