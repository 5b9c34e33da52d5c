graph @g {
  %hidden = [1, 2, 3]
  %x = neg(%hiden)
  %y = add(%hiden, %x)
  %z = neg(%later)
  %later = neg(%hidden)
  save %y as "y"
}
