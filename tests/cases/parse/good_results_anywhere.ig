// What stands for the result of an effect can be written out: here its effect needs a value below it.
graph @results {
  %late = effect_result {entry: 0}
  %x = 1
  do call(%x) {name: "f"}
  %canonical = effect_result {entry: 1}
  do call() {name: "g"}
  %other = effect_result {entry: 1}
  %never = effect_result {entry: -3}
  %p = param {index: 3}
  save %other as "x"
}
