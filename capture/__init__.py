"""Running a model and keeping what was seen."""
