// Invariant 2: `full` holds a single number.
graph @full_of_list {
  save full {shape: [2], value: [1, 2]} as "x"
}
