graph @prompts models { m: "tiny" } {
  %f = forward(["The Eiffel Tower", 7]) {model: m}
  %g = forward(["The Eiffel Tower" "Paris"]) {model: m}
}
