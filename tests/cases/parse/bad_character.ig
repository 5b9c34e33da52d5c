graph @g {
  %a = “text”
  % b = 1
  %c = 2 + 3
  %d = [1, 2]²
  %e = -nan
  %f = add(1,, 2)
}
