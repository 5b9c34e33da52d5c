graph @g {
  %x = 1
  do loop(%x) {trip: 2} (%i, %x) {
    log %x
    do loop(%x) {trip: 2} (%i, %x) {
      log %x
