"""Vectors that are added, as one tensor for each hook point: a step of a small model is shorter than many additions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from capture.hook_point import HookPoint
from capture.intervention import AddsVector, Intervention, Recipe
from capture.placing import Placed, placed


@dataclass(frozen=True, eq=False)
class Summed:
    """At one hook point, the sum of all vectors that are added to each row of a single column."""

    at: HookPoint
    total: Float[Tensor, "batch 1 d"]

    def hook_points(self) -> tuple[HookPoint, ...]:
        return (self.at,)

    def __call__(
        self, activation: Float[Tensor, "batch 1 d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch 1 d"]:
        return (activation.float() + self.total).to(activation.dtype)

    def recipe(self) -> Recipe:
        """For an error's words; nothing reads it."""
        return {"kind": "summed", "at": str(self.at)}


def summed(
    changes: Sequence[tuple[Intervention, ...]],
    first_pos: Sequence[int],
    widths: Mapping[HookPoint, int],
    device: torch.device,
) -> list[Placed]:
    """What acts on a single column: one sum wherever nothing but vectors is added, and the other changes as they are.

    A sum of several vectors rounds otherwise than adding them in turn; one alone is added as it would be.
    """
    at_point: dict[HookPoint, list[Intervention]] = {}
    for one in (change for row in changes for change in row):
        for at in one.hook_points():
            at_point.setdefault(at, []).append(one)
    # What has another width is left to refuse by itself.
    pure = {at for at, found in at_point.items() if all(_fits(one, widths[at]) for one in found)}
    rest = [tuple(one for one in row if not set(one.hook_points()) <= pure) for row in changes]
    totals = {at: torch.zeros(len(changes), 1, widths[at]) for at in pure}
    for number, row in enumerate(changes):
        for one in row:
            if isinstance(one, AddsVector) and one.at in pure:
                totals[one.at][number, 0] += one.added()
    return [Placed(Summed(at, total.to(device))) for at, total in totals.items()] + placed(rest, None, first_pos)


def _fits(change: Intervention, width: int) -> bool:
    return isinstance(change, AddsVector) and change.added().shape[-1] == width
