// Functions of one number.
graph @ops_functions {
  %x = [[-1.0, 0.0, 0.25], [1.0, 4.0, 100.0]]
  save exp(%x) as "exp"
  save log(%x) as "log"
  save sqrt(%x) as "sqrt"
  save sigmoid(%x) as "sigmoid"
  save tanh(%x) as "tanh"
  save silu(%x) as "silu"
  save exp([0, 1]) as "of integers"
}
