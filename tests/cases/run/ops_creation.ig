// Tensors from nothing. Random numbers are a function of seed, stream and place.
graph @ops_creation {
  save full {shape: [2, 2], value: 0.5} as "full"
  save full {shape: [2], value: true, dtype: i64} as "ones of i64"
  save arange {end: 5} as "arange(5)"
  save arange {start: 1, end: 0, step: -0.25, dtype: f32} as "arange(1, 0, -0.25)"
  save linspace {start: 0, end: 1, steps: 5} as "linspace"
  save eye {rows: 2, columns: 3} as "eye"
  save random_uniform {shape: [3], seed: 1} as "uniform"
  save random_uniform {shape: [2, 2], seed: 1} as "the same numbers"
  save random_uniform(1) {shape: [3], seed: 1} as "another stream"
  save random_uniform {shape: [3], seed: 2, low: -1, high: 1, dtype: f64} as "another seed, range and type"
  save random_normal {shape: [4], seed: 1} as "normal"
  save random_int {shape: [8], seed: 1, low: -2, high: 3} as "int"
}
