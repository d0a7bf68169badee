"""What the landing page asks; its figures are those of the lenses whose findings it shows."""

QUESTION = "What is unusual about this model's activations on this text?"
