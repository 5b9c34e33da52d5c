// An index that only running can tell is reported at its place, and what was logged before it stays.
graph @fails_gather {
  %i = argmax([1.0, 5.0, 2.0]) {dim: 0, keepdim: true}
  %far = mul(%i, 3)
  log "the index", %far
  save gather([1.0, 2.0], %far) {dim: 0} as "x"
}
