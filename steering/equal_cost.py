"""The effect of a system at a given side effect, read off its dose-response; intervals resample prompts."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from steering.scores import N_RESAMPLES, Interval


def at_equal_cost(
    effect: Float[np.ndarray, "doses targets"], cost: Float[np.ndarray, "doses others"], budget: float, seed: int = 0
) -> Interval:
    """The mean effect where the mean side effect is the budget, with its interval over resampled prompts.

    Doses ascend; dose 0 has neither. Beyond the largest dose the effect there counts.
    """
    draw = np.random.default_rng(seed)
    n_targets, n_others = effect.shape[1], cost.shape[1]
    values = [
        _crossing(
            effect[:, draw.integers(n_targets, size=n_targets)].mean(axis=1),
            cost[:, draw.integers(n_others, size=n_others)].mean(axis=1),
            budget,
        )
        for _ in range(N_RESAMPLES)
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(_crossing(effect.mean(axis=1), cost.mean(axis=1), budget), float(low), float(high))


def dose_at_cost(doses: Sequence[float], cost: Float[np.ndarray, "doses others"], budget: float) -> float:
    """The dose where the mean side effect is the budget; the largest one where it stays below it."""
    return _crossing(np.asarray(doses, dtype=float), cost.mean(axis=1), budget)


def _crossing(effect: Float[np.ndarray, "doses"], cost: Float[np.ndarray, "doses"], budget: float) -> float:
    before = (0.0, 0.0)
    for point in zip(cost.tolist(), effect.tolist(), strict=True):
        if point[0] >= budget:
            share = (budget - before[0]) / (point[0] - before[0])
            return before[1] + share * (point[1] - before[1])
        before = point
    return before[1]
