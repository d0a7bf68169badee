"""Dose: the scores at one strength on one half of the pairs and prompts; which half chooses, and what is chosen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from capture.errors import UserError
from steering.proxies import KL_BUDGET
from steering.scores import (
    Interval,
    anti_steerable,
    concept_map,
    fluency,
    harmonic_mean,
    instruct,
    interval,
    is_held,
    perplexity_ratio,
)
from steering.scoring import Values, Written


@dataclass(frozen=True)
class Half:
    """Places of the pairs and of the prompts that belong together."""

    pairs: tuple[int, ...]
    prompts: tuple[int, ...]


def halves(n_pairs: int, n_prompts: int) -> tuple[Half, Half]:
    """The half that chooses, with every second pair and prompt from the first on, and the half that is reported.

    Raises UserError where a half would have no pair or no prompt; without any pair both halves have none.
    """
    for n, name in ((n_pairs, "pair"), (n_prompts, "prompt")):
        if n == 1:
            raise UserError(
                f"One half chooses the strength and the other reports it: two {name}s are needed; 1 was given.",
                f"Add a {name}.",
            )
    first, second = (Half(tuple(range(at, n_pairs, 2)), tuple(range(at, n_prompts, 2))) for at in (0, 1))
    return first, second


@dataclass(frozen=True)
class Dose:
    """The scores at one strength; `layer` None is where the recipe acts. None stands for what needs pairs.

    `repetition` is in excess of what the clean model wrote, `relevance_change` against it.
    """

    strength: float
    layer: int | None
    concept: Interval | None
    anti_steerable: float | None
    preference: float | None
    utility: float | None
    kl: Interval
    kl_last: float
    perplexity_ratio: Interval
    repetition: float
    distinct: float
    relevance: float
    relevance_change: float
    fluency: float
    instruct: float
    overall: float | None
    n_held: int = 0
    """Pairs whose utility odds are held at their largest, since the masses of their texts add up to 1 or more."""


def dose(strength: float, layer: int | None, values: Values, clean: Written, half: Half) -> Dose:
    """The scores of one half; nothing of the other half is looked at."""
    concepts, written = _some(values.concept, half.pairs), values.written
    steered = {name: _some(getattr(written, name), half.prompts) for name in vars(written)}
    before = {name: _some(getattr(clean, name), half.prompts) for name in vars(clean)}
    ratio = perplexity_ratio(steered["loss"], steered["n_tokens"], before["loss"], before["n_tokens"])
    repetition = max(0.0, _mean(steered["repeated"]) - _mean(before["repeated"]))
    kl = interval(_some(values.kl, half.prompts))
    change = _mean(steered["relevance"]) - _mean(before["relevance"])
    score = interval(concepts) if concepts else None
    maps = fluency(ratio.mean, repetition), instruct(kl.mean, change)
    return Dose(
        strength,
        layer,
        score,
        anti_steerable(concepts) if concepts else None,
        _mean(_some(values.preference, half.pairs)) if concepts else None,
        _mean(_some(values.utility, half.pairs)) if concepts else None,
        kl,
        _mean(_some(values.kl_last, half.prompts)),
        ratio,
        repetition,
        _mean(steered["distinct"]),
        _mean(steered["relevance"]),
        change,
        *maps,
        None if score is None else harmonic_mean((concept_map(score.mean), *maps)),
        sum(map(is_held, _some(values.utility, half.pairs))),
    )


def knee(doses: Sequence[Dose], budget: float = KL_BUDGET) -> Dose | None:
    """The best of these doses within the KL budget, by `proxies`' rule for the knee; None where none will do.

    Of equal ones the weaker.
    """
    within = [one for one in doses if one.kl.mean <= budget]
    if any(one.overall is not None for one in doses):
        within = [one for one in within if one.overall]
        return max(within, key=lambda one: (one.overall or 0.0, -abs(one.strength)), default=None)
    return max(within, key=lambda one: abs(one.strength), default=None)


def budget_strength(doses: Sequence[Dose], budget: float = KL_BUDGET) -> float | None:
    """The strength at which the KL of one layer's doses first passes the budget, on straight lines between them.

    Strengths are those of one sign. None where they all stay within.
    """
    before, kl_before = 0.0, 0.0
    for one in sorted(doses, key=lambda one: abs(one.strength)):
        if one.kl.mean > budget:
            share = (budget - kl_before) / (one.kl.mean - kl_before) if kl_before < budget else 0.0
            return before + share * (one.strength - before)
        before, kl_before = one.strength, one.kl.mean
    return None


def _some(values: Sequence[Any], places: Sequence[int]) -> list[Any]:
    return [values[place] for place in places]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
