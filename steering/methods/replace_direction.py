"""Replacing: h − (h·v̂) v̂ + c v̂, another value in place of what the activation has along a direction."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from capture.hook_point import HookPoint
from capture.intervention import Recipe
from steering.direction import Direction, check_width, coordinate, unit
from steering.fitted import Fitted, Setting
from steering.method import Method
from steering.operator_recipe import operator_of, operator_recipe
from steering.token_scope import EVERYWHERE, Ranges, change_within


@dataclass(frozen=True)
class ReplaceDirection:
    """A constant value in place of whatever the activation has along a direction.

    The value counts in multiples of `length`, or as it is without one, and the activation moves there by `strength`: 0
    not at all, 1 wholly.
    """

    at: HookPoint
    vector: Direction
    value: float
    strength: float = 1.0
    length: float | None = None
    ranges: Ranges = EVERYWHERE

    kind = "replace_direction"

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where it acts."""
        return (self.at,)

    @cached_property
    def _unit(self) -> Tensor:
        return unit(torch.tensor(self.vector))

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        """The activation with another value along the direction."""
        if self.strength == 0:
            return activation
        check_width(len(self.vector), activation, at)
        v, wanted = self._unit.to(activation.device), self.value * (1.0 if self.length is None else self.length)
        return change_within(
            activation, first_pos, self.ranges, lambda x: x + self.strength * (wanted - coordinate(x, v)) * v
        )

    def recipe(self) -> Recipe:
        """Plain JSON with the direction itself."""
        return operator_recipe(self)

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "ReplaceDirection":
        """The intervention that a recipe describes."""
        made: ReplaceDirection = operator_of(cls, recipe)
        return made


def apply(fitted: Fitted, setting: Setting) -> tuple[ReplaceDirection, ...]:
    """The value of the setting along the direction of each hook point."""
    return tuple(
        ReplaceDirection(
            at, vector, setting.value, setting.strength * weight, setting.length(fitted, at), setting.ranges
        )
        for at, vector, weight in setting.directions(fitted)
    )


METHOD = Method(
    slug="replace_direction",
    title="Replace along a direction",
    paper="Zou et al. 2023 (RepE), arXiv 2310.01405, linear combination after projection",
    needs="direction",
    fitted_by="takes the direction of any fitted vector",
    apply=apply,
)

OPERATOR = ReplaceDirection
