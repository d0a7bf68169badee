"""Adding a direction: x + s v, the operator of CAA, DiffMean, contrast PCA, probes and ITI."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from capture.hook_point import HookPoint
from capture.intervention import Recipe
from steering.direction import Direction, check_width, unit
from steering.fitted import Fitted, Setting
from steering.method import Method
from steering.operator_recipe import operator_of, operator_recipe
from steering.token_scope import EVERYWHERE, Ranges, change_within


@dataclass(frozen=True)
class AddDirection:
    """x + strength * v at some positions; with a `length`, v is brought to that length first.

    With the mean residual norm at the hook point as the length, the strength is relative to it.
    """

    at: HookPoint
    vector: Direction
    strength: float = 1.0
    length: float | None = None
    ranges: Ranges = EVERYWHERE

    kind = "add_direction"

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where it acts."""
        return (self.at,)

    @cached_property
    def _change(self) -> Tensor:
        vector = torch.tensor(self.vector)
        return self.strength * (vector if self.length is None else self.length * unit(vector))

    def added(self) -> Float[Tensor, "d"]:
        """What is added, before it is brought to the type of the activation."""
        return self._change

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        """The activation with the vector added."""
        if self.strength == 0:
            return activation
        check_width(len(self.vector), activation, at)
        change = self._change.to(activation.device)
        return change_within(activation, first_pos, self.ranges, lambda x: x + change)

    def recipe(self) -> Recipe:
        """Plain JSON with the vector itself."""
        return operator_recipe(self)

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "AddDirection":
        """The intervention that a recipe describes."""
        made: AddDirection = operator_of(cls, recipe)
        return made


def add_fitted(fitted: Fitted, setting: Setting) -> tuple[AddDirection, ...]:
    """Each hook point's vector added there."""
    return tuple(
        AddDirection(at, vector, setting.strength * weight, setting.length(fitted, at), setting.ranges)
        for at, vector, weight in setting.directions(fitted)
    )


METHOD = Method(
    slug="add_direction",
    title="Add a direction",
    paper="Turner et al. 2023, arXiv 2308.10248",
    needs="direction",
    fitted_by="takes the direction of any fitted or imported vector, as long as it is",
    apply=add_fitted,
    is_additive=True,
)

OPERATOR = AddDirection
