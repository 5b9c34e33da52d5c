// A size that a body names is known outside of it: a list of such values there is another list, and stays in the body. What is
// the same in every iteration and names no size does not.
graph @sizes {
  do loop(0, [[1], [2]]) {trip: 3} (%i, %carried, %same: tensor<Nx1xi64>) {
    log item(append(list(%same), %same), 1)
    log item(append(list(sum(%same)), 7), 0)
    yield add(%carried, %i)
  }
}
