graph @types {
  %0 = tuple()                                   : ()
  %5 = tuple(%0, "text", 1)                      : ((), str, tensor<i64>)
  %one = tuple(1.5)                              : (tensor<f32>)
  %7 = get(%5) {index: 0}                        : list<list<opaque>>
  %f = forward([[1]]) {model: "b c"}             : forward<"b c", Bx(T+1)>
  save %7 as "x"
}
