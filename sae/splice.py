"""Splice: an SAE's reconstruction in place of the activation it reads; zero and mean ablation beside it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from capture.hook_point import HookPoint
from sae.autoencoder import Autoencoder


def _moved(activation: Tensor, target_of: Callable[[Tensor], Tensor], strength: float, first: int) -> Tensor:
    """The activation with its rows from `first` on moved towards a target by a strength; the others as they are."""
    skipped = max(0, first)
    if strength == 0 or skipped >= activation.shape[1]:
        return activation
    part = activation[:, skipped:]
    return torch.cat([activation[:, :skipped], part + strength * (target_of(part) - part)], dim=1)


@dataclass(frozen=True)
class Splice:
    """x + strength * (x̂ − x) at one hook point, from position `from_pos` on.

    An SAE that never saw the first position (BOS, an attention sink) is spliced from the second on: what it would make
    of the first says nothing about it and breaks the model.
    """

    at: HookPoint
    sae: Autoencoder
    strength: float = 1.0
    from_pos: int = 0

    kind = "splice"

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where it acts."""
        return (self.at,)

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        """The activation with its reconstruction in place of it."""
        return _moved(activation, self._reconstructed, self.strength, self.from_pos - first_pos)

    @torch.no_grad()
    def _reconstructed(self, part: Tensor) -> Tensor:
        return self.sae.reconstruct(part.reshape(-1, part.shape[-1]))[0].view(part.shape).to(part.dtype)

    def recipe(self) -> dict[str, Any]:
        """Names the SAE by its digest; whoever reads it must have that SAE."""
        return {
            "kind": self.kind,
            "at": str(self.at),
            "sae": self.sae.digest,
            "strength": self.strength,
            "from_pos": self.from_pos,
        }


@dataclass(frozen=True)
class Ablate:
    """A constant vector in place of the activation, from position `from_pos` on: zeros, or the mean over a text set."""

    at: HookPoint
    value: Float[Tensor, "d"]
    strength: float = 1.0
    from_pos: int = 0

    kind = "ablate"

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where it acts."""
        return (self.at,)

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        """The activation with the constant in place of it."""
        return _moved(activation, self.value.to, self.strength, self.from_pos - first_pos)

    def recipe(self) -> dict[str, Any]:
        """Plain JSON with the vector itself."""
        return {
            "kind": self.kind,
            "at": str(self.at),
            "value": self.value.tolist(),
            "strength": self.strength,
            "from_pos": self.from_pos,
        }
