graph @g {
  a = [1, 2, 3]
  %x = slice(%a, dim=0, start=1)
  %y = sum(%x) {dims=[0]}
  %z = 'text'
  %w = neg %x;
  %v = %x
  save(%x) as "x"
  log(%x)
  neg(%x)
  return %x
}
