graph @prompts models { m: "tiny" } {
  %f = forward(["The Eiffel Tower", "Buckingham Palace",]) {model: m}
  %p = ["one"]
  save %p as "prompts"
}
