graph @g {
  %a = const {value: 1}
  %h = raed(%a) {hook: "lm_head.output"}
  %c = concat(%a, %a) {dim: 0}
  %n = neg(a)
  save %h as "h"
}
