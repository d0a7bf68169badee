"""Lenses: activations in, Report out."""
