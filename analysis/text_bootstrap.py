"""Intervals of a mean over tokens, by drawing whole texts anew: tokens of one text are not independent."""

import numpy as np
from jaxtyping import Float, Int

N_RESAMPLES = 500


def interval_over_texts(
    sums: Float[np.ndarray, "texts"], counts: Int[np.ndarray, "texts"]
) -> tuple[float, float] | None:
    """The middle 95 % of Σ sums / Σ counts over 500 draws of as many texts (seed 0); None for a single text."""
    n = len(sums)
    if n < 2:
        return None
    draw = np.random.default_rng(0)
    means = []
    for _ in range(N_RESAMPLES):
        chosen = draw.integers(n, size=n)
        if total := counts[chosen].sum():
            means.append(sums[chosen].sum() / total)
    if not means:
        return None
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
