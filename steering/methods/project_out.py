"""Directional ablation: x − (x·v̂) v̂, so that nothing is left along a direction (Arditi et al. 2024, 2406.11717)."""

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
class ProjectOut:
    """x − strength * (x·v̂) v̂; strength 1 leaves nothing along the direction, 2 mirrors it."""

    at: HookPoint
    vector: Direction
    strength: float = 1.0
    ranges: Ranges = EVERYWHERE

    kind = "project_out"

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where it acts."""
        return (self.at,)

    @cached_property
    def _unit(self) -> Tensor:
        return unit(torch.tensor(self.vector))

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        """The activation without its part along the direction."""
        if self.strength == 0:
            return activation
        check_width(len(self.vector), activation, at)
        v = self._unit.to(activation.device)
        return change_within(activation, first_pos, self.ranges, lambda x: x - self.strength * coordinate(x, v) * v)

    def recipe(self) -> Recipe:
        """Plain JSON with the direction itself."""
        return operator_recipe(self)

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "ProjectOut":
        """The intervention that a recipe describes."""
        made: ProjectOut = operator_of(cls, recipe)
        return made


def apply(fitted: Fitted, setting: Setting) -> tuple[ProjectOut, ...]:
    """The direction of each hook point taken out there."""
    return tuple(
        ProjectOut(at, vector, setting.strength * weight, setting.ranges)
        for at, vector, weight in setting.directions(fitted)
    )


METHOD = Method(
    slug="project_out",
    title="Project out (directional ablation)",
    paper="Arditi et al. 2024, arXiv 2406.11717",
    needs="direction",
    fitted_by="takes the direction of any fitted vector",
    apply=apply,
)

OPERATOR = ProjectOut
