"""How far a probability can be taken at its word: reliability by bin, expected calibration error, Brier score."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

N_BINS = 10


@dataclass(frozen=True)
class Bin:
    """Prompts whose probability lies in [low, high): how many, what was said on average, and what was true."""

    low: float
    high: float
    n: int
    said: float
    true: float


def reliability(said: Sequence[float], true: Sequence[bool], n_bins: int = N_BINS) -> tuple[Bin, ...]:
    """Bins of equal width over [0, 1], those without a prompt left out; the last one has 1 too."""
    odds, labels = np.asarray(said, dtype=float), np.asarray(true, dtype=float)
    place = np.minimum((odds * n_bins).astype(int), n_bins - 1)
    return tuple(
        Bin(n / n_bins, (n + 1) / n_bins, int(chosen.sum()), float(odds[chosen].mean()), float(labels[chosen].mean()))
        for n in range(n_bins)
        if (chosen := place == n).any()
    )


def calibration_error(bins: Sequence[Bin]) -> float:
    """ECE: mean over prompts of |said − true| of their bin (Naeini et al. 2015)."""
    return sum(one.n * abs(one.said - one.true) for one in bins) / sum(one.n for one in bins)


def brier(said: Sequence[float], true: Sequence[bool]) -> float:
    """Mean squared difference of probability and label (Brier 1950): 0 is perfect, ¼ is saying ½ of everything."""
    return float(((np.asarray(said, dtype=float) - np.asarray(true, dtype=float)) ** 2).mean())
