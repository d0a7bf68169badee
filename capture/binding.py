"""Binding: what a recipe's changes are on one prompt.

1. A change that is muted is left out; where one is solo, only those that are solo stay.
2. A change that depends on the prompt (BindsToPrompt) is asked what it is there; the others stay as they are.
3. What is to run gets what it needs of the model: its weights (ReadsWeights), or the whole session (BindsToModel).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from capture.intervention import BindsToModel, BindsToPrompt, Intervention, ReadsWeights

if TYPE_CHECKING:
    from capture.session import ModelSession


def audible(interventions: Sequence[Intervention]) -> tuple[Intervention, ...]:
    """Those that act at all: not muted (`is_muted`), and solo (`is_solo`) where any is."""
    heard = tuple(one for one in interventions if not getattr(one, "is_muted", False))
    solo = tuple(one for one in heard if getattr(one, "is_solo", False))
    return solo or heard


def bound(
    interventions: Sequence[Intervention], session: "ModelSession", prompt: Sequence[int]
) -> tuple[Intervention, ...]:
    """The interventions of a recipe on one prompt, in its order."""
    found: list[Intervention] = []
    for one in audible(interventions):
        found += one.bound_to(session, prompt) if isinstance(one, BindsToPrompt) else (one,)
    return tuple(found)


def bound_rows(
    interventions: Sequence[Intervention], session: "ModelSession", prompts: Sequence[Sequence[int]]
) -> list[tuple[Intervention, ...]]:
    """What is to run for each prompt of a batch; where nothing depends on the prompt, the very same tuple for all."""
    heard = audible(interventions)
    if not any(isinstance(one, BindsToPrompt) for one in heard):
        return [_ready(heard, session)] * len(prompts)
    return [_ready(bound(heard, session, prompt), session) for prompt in prompts]


def _ready(changes: Sequence[Intervention], session: "ModelSession") -> tuple[Intervention, ...]:
    fitting = (one.for_model(session) if isinstance(one, BindsToModel) else one for one in changes)
    return tuple(one.with_weights(session.weight) if isinstance(one, ReadsWeights) else one for one in fitting)
