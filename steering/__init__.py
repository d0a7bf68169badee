"""Steering: changes to a model's activations that are made by a method rather than given entry by entry."""
