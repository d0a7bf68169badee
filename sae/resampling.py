"""Intervals by resampling: the middle 95 % of a mean over texts, latents or places drawn again with replacement."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

N_RESAMPLES = 500
MIDDLE = (0.025, 0.975)


def mean_interval(groups: Sequence[Float[np.ndarray, "_"]]) -> tuple[float | None, float | None]:
    """The middle 95 % of the mean of the groups' means, each group resampled by itself; None for fewer than 2 values.

    The draws are seeded: the same values give the same interval.
    """
    if not groups or min(map(len, groups)) < 2:
        return None, None
    draw = np.random.default_rng(0)
    means = [values[draw.integers(len(values), size=(N_RESAMPLES, len(values)))].mean(axis=1) for values in groups]
    low, high = np.quantile(np.mean(means, axis=0), MIDDLE).tolist()
    return low, high
