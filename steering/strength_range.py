"""From what to what a strength is worth trying, where no sweep has found it."""

import math
from dataclasses import replace

from steering.methods.act_add import AddRows
from steering.methods.add_direction import AddDirection
from steering.methods.k_steering import GradientStep
from steering.methods.psr import AddGated
from steering.methods.sadi import MultiplyEntries
from steering.recipe import Step

RELATIVE = 0.5
"""Half the length of the activation: the eight bundled vectors cost 0.5 to 0.7 nats of KL at 0.4."""
WITHOUT_END = (AddDirection, AddGated, AddRows, GradientStep, MultiplyEntries)
"""Changes of which there can always be more."""
PART = (0.0, 1.0)
"""For changes of which 0 is nothing and 1 the whole: ablations, clamps, masks."""


def strength_range(step: Step) -> tuple[float, float]:
    """The range of a step's slider: what a sweep found, else what makes a vector half as long as the activation.

    0 to 1 for what is a change by parts; always wide enough for the strength that the step has.
    """
    low, high = step.strength_range or usual_range(step)
    return min(low, step.strength), max(high, step.strength)


def in_unit(step: Step, unit: str) -> Step:
    """The step with its strengths said in another unit, as alike as one number for several hook points can be."""
    if unit == step.unit:
        return step
    ratios = [
        _length(change) / step.mean_norms[change.at]
        for change in step.changes
        if _length(change) and step.mean_norms.get(change.at)
    ]
    ratio = sum(ratios) / len(ratios) if ratios else 1.0
    factor = ratio if unit == "relative" else 1 / ratio
    limits = step.strength_range and (step.strength_range[0] * factor, step.strength_range[1] * factor)
    usual = step.usual_strength * factor
    return replace(step, unit=unit, strength=step.strength * factor, usual_strength=usual, strength_range=limits)


def usual_range(step: Step) -> tuple[float, float]:
    """The range of a step that no sweep has seen."""
    if step.unit == "relative":
        return -RELATIVE, RELATIVE
    if not any(isinstance(one, WITHOUT_END) for one in step.changes):
        return PART
    ratios = [_halfway(step, one) for one in step.changes if isinstance(one, AddDirection)]
    most = rounded_up(max((one for one in ratios if one), default=2.0))
    return -most, most


def _halfway(step: Step, change: AddDirection) -> float:
    """The strength at which the change is half as long as the activation; 0 where that is not known."""
    length = _length(change) * abs(change.strength)
    return RELATIVE * step.mean_norms.get(change.at, 0.0) / length if length else 0.0


def _length(change: AddDirection) -> float:
    return math.hypot(*change.vector) if change.length is None else change.length


def rounded_up(number: float) -> float:
    """The next of 1, 2, 5, 10, … above a number."""
    size = 10.0 ** math.floor(math.log10(number))
    return next(one * size for one in (1.0, 2.0, 5.0, 10.0) if one * size >= number * (1 - 1e-9))
