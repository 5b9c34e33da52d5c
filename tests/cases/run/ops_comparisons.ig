// Comparisons and choices.
graph @ops_comparisons {
  %x = [1.0, 2.0, nan]
  %y = [2.0, 2.0, nan]
  save eq(%x, %y) as "eq"
  save ne(%x, %y) as "ne"
  save lt(%x, %y) as "lt"
  save le(%x, %y) as "le"
  save gt(%x, 1) as "gt"
  save ge(%x, 2) as "ge"
  save and(%x, [0, 1, 1]) as "and"
  save or([0, 0, 1], [0, 1, 0]) as "or"
  save not(%x) as "not"
  save select(lt(%x, %y), -1, %x) as "select"
  save xor([true, true, false], [true, false, false]) as "xor"
  save isnan([1.0, nan, inf]) as "isnan"
  save isinf([1.0, nan, -inf]) as "isinf"
  save isfinite([1.0, nan, inf]) as "isfinite"
}
