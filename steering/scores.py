"""Formulas of the judge-free scores; each is a proxy for what a reader would say.

Concept after Pres et al. 2024 (arXiv 2410.17245), the anti-steerable share after Tan et al. 2024 (arXiv 2407.12404),
KL budget after Arditi et al. 2024 (arXiv 2406.11717).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

N_RESAMPLES = 1000
MAX_RATIO = 4.0
"""Perplexity ratio at which nothing is left of fluency."""
KL_BUDGET = 0.1


@dataclass(frozen=True)
class Interval:
    """A mean and the middle 95 % of its bootstrap."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float], seed: int = 0) -> Interval:
    """Mean of the values and its interval over resampled values."""
    given = np.asarray(values, dtype=float)
    draw = np.random.default_rng(seed)
    means = given[draw.integers(len(given), size=(N_RESAMPLES, len(given)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(given.mean()), float(low), float(high))


def auroc(positive: Float[Tensor, "p"], negative: Float[Tensor, "n"]) -> float:
    """Share of (positive, negative) couples in which the positive score is higher; ties count half."""
    above = (positive[:, None] > negative).double() + 0.5 * (positive[:, None] == negative).double()
    return float(above.mean())


def concept(
    positive: Sequence[float],
    positive_clean: Sequence[float],
    negative: Sequence[float],
    negative_clean: Sequence[float],
) -> list[float]:
    """C of each pair: [ll_m(D+) − ll_0(D+)] − [ll_m(D−) − ll_0(D−)], nats per token."""
    return [
        (up - up_clean) - (down - down_clean)
        for up, up_clean, down, down_clean in zip(positive, positive_clean, negative, negative_clean, strict=True)
    ]


def anti_steerable(concepts: Sequence[float]) -> float:
    """Share of pairs that are moved the wrong way."""
    return sum(one < 0 for one in concepts) / len(concepts)


def kl(clean: Float[Tensor, "pos d_vocab"], changed: Float[Tensor, "pos d_vocab"]) -> float:
    """Mean KL(clean ‖ changed) over positions, in nats, from log-probabilities."""
    # 0 · log 0 is 0; a rounding error may leave a tiny negative sum.
    parts = torch.where(clean.isneginf(), 0.0, clean.exp() * (clean - changed))
    return max(0.0, float(parts.sum(dim=-1).mean()))


def repeated_share(tokens: Sequence[int], n: int = 4) -> float:
    """Share of n-grams that were there before: loops have a low perplexity, and are not fluent."""
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def fluency(ratio: float, excess_repetition: float = 0.0) -> float:
    """F = 2 · clip(1 − ln(ratio) / ln 4, 0, 1) · (1 − excess repetition), in [0, 2]."""
    share = 1 - math.log(ratio) / math.log(MAX_RATIO)
    return 2 * min(1.0, max(0.0, share)) * (1 - min(1.0, max(0.0, excess_repetition)))


def chosen_strength(
    strengths: Sequence[float], concepts: Sequence[float], kls: Sequence[float], budget: float = KL_BUDGET
) -> float:
    """The strength with the highest concept score of those within the KL budget; 0 where none raises it."""
    allowed = [(c, s) for s, c, cost in zip(strengths, concepts, kls, strict=True) if cost <= budget and c > 0]
    return max(allowed)[1] if allowed else 0.0
