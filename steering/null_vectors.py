"""Vectors that chance would have given: random directions, and fits on pairs of which half were exchanged by lot."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from steering.contrast_pairs import Contrast, contrast_of
from steering.fitted import Fitted

Refit = Callable[[Contrast], Fitted]


def random_fits(fitted: Fitted, n: int) -> list[Fitted]:
    """Fits with random directions, zero where the fitted ones are."""
    return [
        replace(
            fitted,
            vectors={
                at: torch.randn(vector.shape, generator=torch.Generator().manual_seed(1000 * seed + place))
                * (vector != 0)
                for place, (at, vector) in enumerate(sorted(fitted.vectors.items(), key=lambda item: item[0]))
            },
        )
        for seed in range(n)
    ]


def shuffled_fits(contrast: Contrast, refit: Refit, n: int) -> list[Fitted]:
    """Fits for which the two texts of half of the pairs, chosen by lot, were exchanged.

    Exactly half: with more on one side the fit would point along the true difference, and be brought to its length.
    """
    n_pairs = len(contrast.examples) // 2
    orders = [torch.randperm(n_pairs, generator=torch.Generator().manual_seed(seed)).tolist() for seed in range(n)]
    lots = [[int(place < n_pairs // 2) for place in order] for order in orders]
    return [refit(exchanged(contrast, some)) for some in lots]


def exchanged(contrast: Contrast, lots: Sequence[int]) -> Contrast:
    """The pairs, with the texts of those whose lot is 1 under each other's label."""
    examples = []
    for (positive, negative), lot in zip(contrast.pairs, lots, strict=True):
        first, second = (negative, positive) if lot else (positive, negative)
        examples += [replace(first, label=positive.label), replace(second, label=negative.label)]
    return contrast_of(contrast.title, contrast.labels, examples, is_paired=True)


def as_long_as(fitted: Fitted, other: Fitted) -> Fitted:
    """The other fit with its vectors brought to the length of the fitted ones at the same hook points."""
    lengths = {at: vector.norm() for at, vector in fitted.vectors.items()}
    vectors = {at: one * (lengths[at] / one.norm()) if at in lengths else one for at, one in other.vectors.items()}
    return replace(other, vectors=vectors, mean_norms={**other.mean_norms, **fitted.mean_norms})
