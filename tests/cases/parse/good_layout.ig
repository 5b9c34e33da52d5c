graph @layout models {
  a: "one",
  "big model": "two",   // a comma may end a list
} {
  %x = add(
    1,
    neg(
      2 // two
    ),
  )
  %"layer 5" = sum(%x) { dims: [ 0, -1, ], keepdim: true }
  %y = const { value: 3 } log %"layer 5" save %y as "y"
}
