"""An exponential moving average of weights that starts from zero and is corrected for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class MovingAverage:
    """Σ (1 − decay) decay^(n−i) w_i; `weights` divides by 1 − decay^n, so that constant weights are their average."""

    decay: float
    n: int = 0
    total: dict[str, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def see(self, weights: Mapping[str, Tensor]) -> None:
        """Take in the weights before a step."""
        for name, value in weights.items():
            kept = self.total.setdefault(name, torch.zeros_like(value))
            kept.lerp_(value, 1 - self.decay)
        self.n += 1

    def weights(self) -> dict[str, Tensor]:
        """The corrected average; raises ValueError before the first step."""
        if not self.n:
            raise ValueError("No weights were averaged yet.")
        return {name: value / (1 - self.decay**self.n) for name, value in self.total.items()}
