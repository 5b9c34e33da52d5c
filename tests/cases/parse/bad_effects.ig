graph @g {
  %a = 1
  save %a
  save %a as a
  save as "a"
  log
  log "only a label",
  lgo %a
  %a
}
