graph @g {
  %x = 1
  do add(%x, %x)
  do
  %y = do mul(%x, %x)
  %z = add(do call(%x) {name: "f"}, 1)
  save %x as "x" if
  log %x if %x else
  log if %x
  stop 7
  stop %x
  do call(%x)
  do foo(%x)
  %w = do
  save %x if %x as "x"
}
