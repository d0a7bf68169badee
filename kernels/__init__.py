"""Fused operations, each beside the PyTorch reference that defines it."""

__version__ = "0.0.0"
