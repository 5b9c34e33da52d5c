graph @g {
  %a = slice([1, 2]) {dim: "rows", start: None}
  %b = argmax(%a) {keepdim: True}
  %c = cast(%a) {dtype: float32}
  %d = sum(%a) {dims: 1}
  %e = rms_norm(%a, %a) {eps: true}
  %f = index(%a) {dim: 0, index: 1.5}
  %g = reshape(%a) {shape: [b, 3]}
  %h = read(%a) {hook: %a}
  %i = const {value: %a}
  %j = kl_div(%a, %a) {reduction: average}
}
