graph @g {
  %a = "never closed
  %b = "the \q of a string"
  save %b as "b"
  log "label, %a
}
