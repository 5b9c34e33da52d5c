// Invariant 4: names become canonical: from the end, Python's brackets, TransformerLens' names; prompts of one length.
graph @names models { m: "induction" } {
  %f = forward(["<s> Eiffel Paris Eiffel", "<s> Prado Madrid Prado"]) {model: m}
  %h = read(%f) {hook: "model.layers[-1].self_attn.inputs[1]['hidden_states']"}
  %w = write(%f, %h) {hook: "blocks.-2.hook_resid_post"}
  save apply(read(%w) {hook: "model.output.last_hidden_state"}) {model: m, module: "unembed"} as "logits"
}
