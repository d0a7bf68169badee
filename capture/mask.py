"""Masks: interventions that set the weak entries of an activation to zero, token by token.

An entry x that is weak becomes (1 - strength) x; every other entry keeps its bits. `through` names an activation
function: the entry's strength is then judged behind it, as gate scores are judged at the gate's pre-activation. Each
function here is 0 at 0, so a pre-activation that is set to zero makes a neuron of exactly zero.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.recipe_number import read_number, read_position

Weight = Callable[[str, int], Tensor]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "silu": torch.nn.functional.silu,
    "swish": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "gelu_new": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "gelu_fast": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
}
"""The activation functions whose weak sets are defined, by the name in a model's config."""


def judged(x: Tensor, through: str) -> Tensor:
    """What an entry's strength is judged by: itself, or itself behind an activation function."""
    return ACTIVATIONS[through](x) if through else x


def _weakened(x: Tensor, is_weak: Bool[Tensor, "..."], strength: float) -> Tensor:
    return torch.where(is_weak, (1 - strength) * x, x)


def _read_through(recipe: dict[str, Any]) -> str:
    if recipe["through"] not in ("", *ACTIVATIONS):
        raise ValueError(f"no activation function is called {str(recipe['through'])[:20]!r}")
    return str(recipe["through"])


@dataclass(frozen=True)
class MaskBelow:
    """Zero in place of every entry whose magnitude is below a threshold: FAT, CATS and TEAL are made of these."""

    at: HookPoint
    threshold: float
    through: str = ""
    strength: float = 1.0

    kind = "mask_below"

    def hook_points(self) -> tuple[HookPoint, ...]:
        return (self.at,)

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        if self.strength == 0 or self.threshold <= 0:
            return activation
        is_weak = judged(activation, self.through).abs() < self.threshold
        return _weakened(activation, is_weak, self.strength)

    def recipe(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "at": str(self.at),
            "threshold": self.threshold,
            "through": self.through,
            "strength": self.strength,
        }

    @classmethod
    def from_recipe(cls, recipe: dict[str, Any]) -> "MaskBelow":
        """The intervention that a recipe describes."""
        numbers = read_number(recipe["threshold"]), _read_through(recipe), read_number(recipe["strength"])
        return cls(HookPoint.parse(recipe["at"]), *numbers)


@dataclass(frozen=True)
class KeepLargest:
    """Zero in place of all but the k entries of largest magnitude, at each token."""

    at: HookPoint
    k: int
    through: str = ""
    strength: float = 1.0

    kind = "keep_largest"

    def hook_points(self) -> tuple[HookPoint, ...]:
        return (self.at,)

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        if self.strength == 0 or self.k >= activation.shape[-1]:
            return activation
        kept = judged(activation, self.through).abs().topk(self.k, dim=-1).indices
        is_weak = torch.ones_like(activation, dtype=torch.bool).scatter_(-1, kept, False)
        return _weakened(activation, is_weak, self.strength)

    def recipe(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "at": str(self.at),
            "k": self.k,
            "through": self.through,
            "strength": self.strength,
        }

    @classmethod
    def from_recipe(cls, recipe: dict[str, Any]) -> "KeepLargest":
        """The intervention that a recipe describes."""
        numbers = read_position(recipe["k"]), _read_through(recipe), read_number(recipe["strength"])
        return cls(HookPoint.parse(recipe["at"]), *numbers)


@dataclass(frozen=True)
class MaskWeakNeurons:
    """Zero in place of every neuron whose output |z_i| ‖W_out row i‖ is shorter than a threshold (CETT's weak set).

    The recipe has one number for the layer, of a block of experts one for each expert (at `expert_post`); the norms of
    the rows of `W_out` are the model's, given at each run.
    """

    at: HookPoint
    threshold: float | tuple[float, ...]
    strength: float = 1.0
    norms: Tensor | None = field(default=None, compare=False, repr=False)

    kind = "mask_weak_neurons"

    def hook_points(self) -> tuple[HookPoint, ...]:
        return (self.at,)

    def with_weights(self, weight: Weight) -> "MaskWeakNeurons":
        """The same mask for one model."""
        if self.at.site not in ("mlp_post", "expert_post") or self.at.layer is None:
            raise UserError(
                f"Neurons are masked at mlp_post or expert_post, where W_out reads them; {self.at} was given.",
                "Name blocks.N.mlp.hook_post, or blocks.N.mlp.experts.hook_post for experts.",
            )
        return replace(self, norms=weight("W_out_norms", self.at.layer))

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        limits = self.threshold if isinstance(self.threshold, tuple) else (self.threshold,)
        if self.strength == 0 or max(limits) <= 0:
            return activation
        if self.norms is None:
            raise ValueError("a mask of weak neurons needs the weights of a model: call with_weights first")
        if len(self.norms) % len(limits):
            raise UserError(
                f"{self.at} must have one threshold, or one for each expert; {len(limits)} were given.",
                "Take the recipe from the model that it is for.",
            )
        limit = self.norms.new_tensor(limits).repeat_interleave(len(self.norms) // len(limits))
        # The product, and not threshold / norm: a neuron that writes nothing is weak, whatever it is.
        return _weakened(activation, activation.float().abs() * self.norms < limit, self.strength)

    def recipe(self) -> dict[str, Any]:
        threshold = list(self.threshold) if isinstance(self.threshold, tuple) else self.threshold
        return {"kind": self.kind, "at": str(self.at), "threshold": threshold, "strength": self.strength}

    @classmethod
    def from_recipe(cls, recipe: dict[str, Any]) -> "MaskWeakNeurons":
        """The intervention that a recipe describes."""
        given = recipe["threshold"]
        threshold = tuple(map(read_number, given)) if isinstance(given, list) and given else read_number(given)
        return cls(HookPoint.parse(recipe["at"]), threshold, read_number(recipe["strength"]))
