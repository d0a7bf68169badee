"""Sentences about sparsity, computed and scored.

score = log2(magnitude / usual): for neurons switched off, the neurons that are not zero in the dense model over those
kept; for neurons that are never kept, their number over what chance gives where each token drew its neurons anew; for a
token and for a block, the larger share kept over the median one. The first two say how much a text needs, and count
for less where it is short: times its predictions over those whose interval is as narrow as the budget.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite, log2
from typing import Any

import numpy as np

from analysis.report import Finding

MAX_FINDINGS = 4


def findings_of(numbers: Mapping[str, Any], arrays: Mapping[str, np.ndarray], is_text_set: bool) -> tuple[Finding, ...]:
    """The findings of a Report, highest score first; none where nothing was searched."""
    if not numbers["is_searched"]:
        return ()
    made = [_damped(one, numbers) for one in (_switched_off(numbers, arrays), _never(numbers, arrays, is_text_set))]
    made.append(_block(arrays))
    if not is_text_set:
        made.append(_token(numbers, arrays))
    found = [one for one in made if one is not None and isfinite(one.score) and one.score > 0]
    return tuple(sorted(found, key=lambda one: -one.score)[:MAX_FINDINGS])


def _finding(sentence: str, magnitude: float, unit: str, ratio: float, place: dict[str, Any], series: Any) -> Finding:
    score = log2(ratio) if ratio > 0 else 0.0
    return Finding(sentence, float(magnitude), unit, score, place, series=tuple(float(one) for one in series))


def ground(numbers: Mapping[str, Any]) -> str:
    """On how many predictions the answer rests, and how few say little."""
    n, telling, interval = numbers["n_predicted"], numbers["n_telling"], numbers["delta_interval"]
    if interval is None:
        return f"It rests on {n:,} predictions."
    if telling <= n:
        return f"It rests on {n:,} predictions, enough to tell the loss from its budget."
    return (
        f"It rests on {n:,} predictions, where chance moves the loss by more ({interval[0]:+.3f} to {interval[1]:+.3f} "
        f"nats) than the budget of {numbers['budget_nats']:.3f}: {_too_few(telling)}."
    )


def _too_few(telling: int) -> str:
    return f"fewer than about {float(f'{telling:.2g}'):,.0f} say little, and a longer text usually needs more neurons"


def _damped(finding: Finding | None, numbers: Mapping[str, Any]) -> Finding | None:
    n, telling = numbers["n_predicted"], numbers["n_telling"]
    if finding is None or telling is None or telling <= n:
        return finding
    words = f"{finding.sentence} This rests on {n:,} predictions: {_too_few(telling)}."
    return replace(finding, sentence=words, score=finding.score * n / telling)


def _switched_off(numbers: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Finding | None:
    ratios = arrays["activation_ratio"]
    kept, dense = float(ratios.mean()), float(arrays["nonzero_share"].mean())
    if kept <= 0:
        return None
    return _finding(
        f"At a budget of {numbers['p']:g} % perplexity, {1 - kept:.0%} of MLP neurons can be switched off; "
        f"{1 - dense:.0%} are zero anyway.",
        100 * (1 - kept),
        "% of neurons switched off",
        dense / kept,
        {"layer": int(np.argmin(ratios))},
        1 - ratios,
    )


def _never(numbers: Mapping[str, Any], arrays: Mapping[str, np.ndarray], is_text_set: bool) -> Finding | None:
    frequency = arrays["neuron_frequency"]
    n = (frequency == 0).sum(axis=1)
    chance = frequency.shape[1] * (1 - arrays["activation_ratio"]) ** numbers["n_tokens_a_neuron"]
    ratio = n / np.maximum(chance, 1)
    layer = int(np.argmax(ratio))
    if n[layer] == 0:
        return None
    where = "these texts" if is_text_set else "this text"
    return _finding(
        f"{n[layer]:,} of {frequency.shape[1]:,} neurons in block {layer} are never needed on {where}.",
        float(n[layer]),
        "neurons never kept",
        float(ratio[layer]),
        {"layer": layer, "neuron": int(np.argmin(frequency[layer]))},
        n,
    )


def _block(arrays: Mapping[str, np.ndarray]) -> Finding | None:
    ratios = arrays["activation_ratio"]
    layer, median = int(np.argmax(ratios)), float(np.median(ratios))
    if median <= 0:
        return None
    return _finding(
        f"Block {layer} keeps {ratios[layer]:.0%} of its neurons, the median block {median:.0%}.",
        100 * float(ratios[layer]),
        "% of the block's neurons",
        float(ratios[layer]) / median,
        {"layer": layer},
        ratios,
    )


def _token(numbers: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Finding | None:
    by_token = arrays["kept_share"].mean(axis=0)
    pos, median = int(np.argmax(by_token)), float(np.median(by_token))
    if median <= 0:
        return None
    return _finding(
        f"Token {numbers['tokens'][pos]!r} (position {pos}) keeps {by_token[pos]:.0%} of MLP neurons, the median token "
        f"{median:.0%}.",
        100 * float(by_token[pos]),
        "% of neurons",
        float(by_token[pos]) / median,
        {"layer": int(np.argmax(arrays["kept_share"][:, pos])), "pos": pos},
        by_token[:64],
    )
