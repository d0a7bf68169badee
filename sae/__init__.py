"""Sparse autoencoders: model, training, metrics, loading and saving, dashboards."""
