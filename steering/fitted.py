"""Fitted: what a steering method learned, and Setting: how strongly, where and when it is used."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.recipe_number import MAX_NUMBER
from steering.direction import Direction, as_direction
from steering.token_scope import EVERYWHERE, Ranges

UNITS = ("absolute", "relative")


@dataclass(frozen=True)
class Fitted:
    """Vectors by hook point, the mean norm of the activations there, and the plain facts of the fit.

    `tensors` has what is no vector of a hook point, such as the weights of a classifier.
    """

    method: str
    vectors: Mapping[HookPoint, Float[Tensor, "..."]]
    mean_norms: Mapping[HookPoint, float]
    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """How a fitted method is used. A relative strength counts in mean norms of the activations at each hook point."""

    strength: float = 1.0
    unit: str = "absolute"
    ranges: Ranges = EVERYWHERE
    value: float = 0.0
    """What clamp and replace put along the direction, in the same unit."""
    weights: Mapping[int, float] = field(default_factory=dict)
    """Multiples of the strength by layer; a layer that is not named has 1."""

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise UserError(f"No unit of strength is called {self.unit!r}.", f"Choose one of: {', '.join(UNITS)}.")
        if not abs(self.strength) <= MAX_NUMBER:
            raise UserError(f"A strength must be a finite number; {self.strength} was given.", "Begin with 1.")

    def directions(self, fitted: Fitted) -> Iterator[tuple[HookPoint, Direction, float]]:
        """Hook point, direction and layer weight of each vector that has a weight above or below 0."""
        for at, vector in sorted(fitted.vectors.items(), key=lambda item: str(item[0])):
            weight = 1.0 if at.layer is None else self.weights.get(at.layer, 1.0)
            if weight:
                yield at, as_direction(vector), weight

    def length(self, fitted: Fitted, at: HookPoint) -> float | None:
        """What a unit of strength is long: the mean norm at the hook point, or None for the vector as stored."""
        return fitted.mean_norms[at] if self.unit == "relative" else None
