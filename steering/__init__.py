"""Methods that change a model's activations: what they are fitted on, what they make, recipes and scoring."""
