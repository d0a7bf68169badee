"""The judge-free scores, computed; `proxies` says each one's formula, unit and source."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from steering.proxies import FULL_CONCEPT, FULL_LOSS, MAX_KL, MAX_RATIO, N_GRAM

N_RESAMPLES = 1000
LEAST_GAP = 1e-12
"""What two probabilities that by rounding add up to 1 or more are taken to leave."""
MOST_UTILITY = -LEAST_GAP - math.log(-math.expm1(-LEAST_GAP))
"""Utility odds, in nats, of two texts whose probabilities leave LEAST_GAP: what they are held at."""
Draws = Int[np.ndarray, "draws n"]


@dataclass(frozen=True)
class Interval:
    """A value and the middle 95 % of its bootstrap."""

    mean: float
    low: float
    high: float


def bootstrap(statistic: Callable[[Draws], Float[np.ndarray, "draws"]], n: int, seed: int = 0) -> Interval:
    """A statistic of n things and its interval over resampled ones; it is given the places that were drawn."""
    draws = np.random.default_rng(seed).integers(n, size=(N_RESAMPLES, n))
    low, high = np.quantile(statistic(draws), [0.025, 0.975])
    return Interval(float(statistic(np.arange(n)[None])[0]), float(low), float(high))


def interval(values: Sequence[float], seed: int = 0) -> Interval:
    """Mean of the values and its interval over resampled values."""
    given = np.asarray(values, dtype=float)
    return bootstrap(lambda draws: given[draws].mean(axis=1), len(given), seed)


def perplexity_ratio(
    losses: Sequence[float], n_tokens: Sequence[int], clean_losses: Sequence[float], n_clean: Sequence[int]
) -> Interval:
    """Perplexity of steered texts over that of clean ones, from each text's mean loss; interval over the prompts."""
    steered, clean, n, n_0 = (np.asarray(one, float) for one in (losses, clean_losses, n_tokens, n_clean))

    def statistic(draws: Draws) -> Float[np.ndarray, "draws"]:
        loss, loss_0 = ((a * b)[draws].sum(1) / b[draws].sum(1) for a, b in ((steered, n), (clean, n_0)))
        return np.exp(loss - loss_0)

    return bootstrap(statistic, len(steered))


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
    """C of each pair, from mean log-likelihoods per token."""
    return [
        (up - up_clean) - (down - down_clean)
        for up, up_clean, down, down_clean in zip(positive, positive_clean, negative, negative_clean, strict=True)
    ]


def anti_steerable(concepts: Sequence[float]) -> float:
    """Share of pairs that are moved the wrong way."""
    return sum(one < 0 for one in concepts) / len(concepts)


def slope(strengths: Sequence[float], concepts: Sequence[float]) -> float:
    """Slope of C in the strength near 0, by least squares through 0 over the two smallest strengths but 0."""
    near = sorted((abs(m), m, c) for m, c in zip(strengths, concepts, strict=True) if m)[:2]
    return sum(m * c for _, m, c in near) / sum(m * m for _, m, _ in near)


def preference_odds(loss_positive: float, loss_negative: float) -> float:
    """Log-odds of the wanted text against the other, from summed negative log-likelihoods in nats."""
    return loss_negative - loss_positive


def utility_odds(loss_positive: float, loss_negative: float) -> float:
    """Log-odds of either of the two texts against all others, from summed negative log-likelihoods in nats.

    Where one text begins with the other the two probabilities may add up to more than 1; then it is MOST_UTILITY.
    """
    either = min(float(np.logaddexp(-loss_positive, -loss_negative)), -LEAST_GAP)
    return either - math.log(-math.expm1(either))


def is_held(utility: float) -> bool:
    """Whether utility odds are held at MOST_UTILITY, since two probabilities add up to 1 or more."""
    return utility >= MOST_UTILITY


def kl(clean: Float[Tensor, "pos d_vocab"], changed: Float[Tensor, "pos d_vocab"]) -> float:
    """Mean KL(clean ‖ changed) over positions, in nats, from log-probabilities."""
    # 0 · log 0 is 0; a rounding error may leave a tiny negative sum.
    parts = torch.where(clean.isneginf(), 0.0, clean.exp() * (clean - changed))
    return max(0.0, float(parts.sum(dim=-1).mean()))


def distinct(tokens: Sequence[int], n: int) -> float:
    """Different n-grams over n-grams, in [0, 1]; 1 for a text that is too short to have one."""
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def repeated_share(tokens: Sequence[int], n: int = N_GRAM) -> float:
    """Share of n-grams that were there before: loops have a low perplexity, and are not fluent."""
    return 1 - distinct(tokens, n)


def fluency(ratio: float, excess_repetition: float = 0.0) -> float:
    """F, in [0, 2]."""
    return 2 * _clip(1 - math.log(ratio) / math.log(MAX_RATIO)) * (1 - _clip(excess_repetition))


def concept_map(concept_score: float) -> float:
    """The concept score, in [0, 2]."""
    return 2 * _clip(concept_score / FULL_CONCEPT)


def instruct(kl_nats: float, relevance: float = 0.0) -> float:
    """What the side effect and the loss of relevance leave, in [0, 2]."""
    return 2 * _clip(1 - kl_nats / MAX_KL) * _clip(1 + relevance / FULL_LOSS)


def harmonic_mean(values: Sequence[float]) -> float:
    """Harmonic mean of values from 0 on; 0 where any is 0."""
    lowest = min(values)
    # By shares of the lowest one: 1 over the tiniest float would be infinite.
    return 0.0 if lowest <= 0 else len(values) * lowest / sum(lowest / one for one in values)


def _clip(share: float) -> float:
    return min(1.0, max(0.0, share))
