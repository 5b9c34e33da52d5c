// The inside of a model, over symbols.
graph @"model.layers.0.input_layernorm" {
  %tokens = input {name: "tokens", dtype: i64, shape: [B, T]}
  %table = weight {name: "model.embed_tokens.weight", dtype: bf16, shape: [49152, 576]}
  %e = hook(cast(embedding(%table, %tokens)) {dtype: f32}) {name: "model.embed_tokens.output"} : tensor<BxTx576xf32>
  %q = reshape(%e) {shape: [B, T, 9, 64]}
  %r = reshape(%e) {shape: [2*B*T-B*T, -1]}                      : tensor<(B*T)x576xf32>
  %p = slice(%e) {dim: 1, end: -1, step: 1}                      : tensor<Bx(T-1)x576xf32>
  %s = rms_norm(%e, weight {name: "norm", dtype: f32, shape: [576]}) {eps: 1e-5}
}
