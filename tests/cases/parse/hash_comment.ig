graph @g {
  # A comment.
  %a = 1  # Another.
  save %a as "a"
}
