"""Rows of a dashboard made by hand, without a model."""

import pyarrow as pa

from capture.store_dashboards import DashboardRows
from capture.store_migrations import PIECE_BYTES


def made_rows(n_latents: int, n_fired: int = 1) -> DashboardRows:
    """A few latents that all fired as often, each with a card of two pieces."""
    numbers = ("density", "max", "mean", "mean_square", "skew", "kurtosis")
    columns = {"latent": pa.array(range(n_latents), pa.int32()), "n_fired": pa.array([n_fired] * n_latents)}
    columns |= {name: pa.array([0.5] * n_latents) for name in numbers}
    columns |= {"first_bin": pa.array([3] * n_latents, pa.int32()), "bin_counts": pa.array([[1, 2]] * n_latents)}
    columns |= {name: pa.array([[" cat"]] * n_latents) for name in ("fires_on", "promotes", "suppresses")}
    cards = [bytes([latent]) * (PIECE_BYTES + 9) for latent in range(n_latents)]
    return DashboardRows(pa.table(columns), cards, pa.table({"token": pa.array([0], pa.int32()), "text": [" cat"]}))
