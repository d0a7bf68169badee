"""Clamping: h − ReLU(h·v̂) v̂ + c v̂, AxBench's subspace clamp (Wu et al. 2025, arXiv 2501.17148)."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from capture.hook_point import HookPoint
from capture.intervention import Recipe
from capture.recipe_number import read_number
from steering.direction import Direction, check_width, coordinate, read_direction, unit
from steering.fitted import Fitted, Setting
from steering.method import Method
from steering.token_scope import EVERYWHERE, Ranges, change_within, read_ranges


@dataclass(frozen=True)
class ClampDirection:
    """A constant value in place of what is positive along a direction; what is negative there stays.

    The value counts in multiples of `length`, and the activation moves there by `strength`: 0 not at all, 1 wholly.
    """

    at: HookPoint
    vector: Direction
    value: float
    strength: float = 1.0
    length: float = 1.0
    ranges: Ranges = EVERYWHERE

    kind = "clamp_direction"

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
        v, wanted = self._unit.to(activation.device), self.value * self.length
        return change_within(
            activation, first_pos, self.ranges, lambda x: x + self.strength * (wanted - coordinate(x, v).relu()) * v
        )

    def recipe(self) -> Recipe:
        """Plain JSON with the direction itself."""
        return {
            "kind": self.kind,
            "at": str(self.at),
            "vector": list(self.vector),
            "value": self.value,
            "strength": self.strength,
            "length": self.length,
            "ranges": [list(one) for one in self.ranges],
        }

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "ClampDirection":
        """The intervention that a recipe describes."""
        return cls(
            HookPoint.parse(recipe["at"]),
            read_direction(recipe["vector"]),
            read_number(recipe["value"]),
            read_number(recipe["strength"]),
            read_number(recipe["length"]),
            read_ranges(recipe["ranges"]),
        )


def apply(fitted: Fitted, setting: Setting) -> tuple[ClampDirection, ...]:
    """The value of the setting along the direction of each hook point."""
    return tuple(
        ClampDirection(
            at, vector, setting.value, setting.strength * weight, setting.length(fitted, at) or 1.0, setting.ranges
        )
        for at, vector, weight in setting.directions(fitted)
    )


METHOD = Method(
    slug="clamp_direction",
    title="Clamp along a direction",
    paper="Wu et al. 2025 (AxBench), arXiv 2501.17148",
    needs="direction",
    fitted_by="takes the direction of any fitted vector",
    apply=apply,
)

OPERATOR = ClampDirection
