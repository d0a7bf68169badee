"""Changes at a multiple of their strength."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from capture.errors import UserError
from capture.intervention import Intervention
from capture.recipe_number import MAX_NUMBER


def scaled(interventions: Sequence[Intervention], factor: float | int) -> tuple[Intervention, ...]:
    """Each intervention at `factor` times its strength: 0 leaves nothing of it, 1 gives it as it is.

    Raises UserError where one has no strength, or where the product is beyond float32.
    """
    return tuple(interventions) if factor == 1 else tuple(_scaled(one, factor) for one in interventions)


def _scaled(one: Any, factor: float | int) -> Intervention:
    strength = getattr(one, "strength", None)
    if strength is None:
        raise UserError(
            f"A change of kind {one.recipe().get('kind')!r} has no strength to multiply.", "Show it at 1 alone."
        )
    if not abs(strength * factor) <= MAX_NUMBER:
        raise UserError(f"{strength:g} times {factor:g} is beyond float32.", "Choose a smaller strength.")
    changed: Intervention = replace(one, strength=strength * factor)
    return changed
