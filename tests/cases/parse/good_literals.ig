graph @literals {
  %int = const {value: -9223372036854775808}
  %float = 1e-3
  %special = [nan, inf, -inf, -0.0, nan(0x7fc00001), 1]
  %bools = [[true], [false]]
  %half = f16[[0.1, 65504], [6e-8, nan]]
  %scalar = f64(0.1)
  %bytes = u8[0, 255]
  %none = i64[]
  %rows = f32[[], []]
  %flat = tensor<2x0x3xbf16>()
  %text = "tab\t, line\n, \"quotes\", \\, \u{1f600}, é"
  %nested = add(mul(%float, 2), [[1.5, 2]])
  %shared = 3
  %twice = add(%shared, %shared)
  save %nested as "n"
}
