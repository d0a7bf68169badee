"""Methods that make interventions, what they are fitted on, recipes and scoring."""
