"""Attention sinks: heads that give position 0 much of their attention whatever the text.

Xiao et al. 2023 (arXiv 2309.17453); a head counts as a sink above 0.3, after Gu et al. 2024 (arXiv 2410.10781).
"""

import numpy as np
from jaxtyping import Float, Shaped

SINK = 0.3


def sink_share(pattern: Shaped[np.ndarray, "n_heads q k"]) -> Float[np.ndarray, "n_heads"]:
    """Mean attention to position 0 over the queries after it; NaN for a text of one token, which has none."""
    first = pattern[:, 1:, 0].astype(np.float64)
    return first.mean(axis=1) if first.shape[1] else np.full(len(pattern), np.nan)


def even_share(n_pos: int) -> float:
    """What `sink_share` would be if every query spread its attention evenly over all it may see."""
    return float(np.mean(1.0 / np.arange(2, n_pos + 1))) if n_pos > 1 else float("nan")
