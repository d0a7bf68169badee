"""How activations are scaled before an SAE reads them, and how its output is scaled back; one name for each way.

Widths differ: OpenAI divides by the unbiased standard deviation over d_in, others by the norm; a checkpoint of one way
read the other way is wrong by about the square root of d_in and looks merely bad, so the name is part of the facts.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

WAYS = ("none", "mean_and_std", "norm_to_sqrt_d", "constant")
"""none; minus the mean over d_in, over the unbiased std + 1e-5 (Gao et al.'s code; SAELens's layer_norm); times
sqrt(d_in) / norm (SAELens's constant_norm_rescale); times a constant found in training."""
EPSILON = 1e-5


@dataclass(frozen=True)
class Scaling:
    """What was taken from each row, so that it can be given back: x = scaled * size + shift."""

    size: Float[Tensor, "rows one"]
    shift: Float[Tensor, "rows one"]

    def undo(self, scaled: Float[Tensor, "rows d"]) -> Float[Tensor, "rows d"]:
        """The rows in the scale that they came in."""
        return scaled * self.size + self.shift


def normalise(
    x: Float[Tensor, "rows d_in"], way: str, constant: float = 1.0
) -> tuple[Float[Tensor, "rows d_in"], Scaling | None]:
    """The rows as the SAE reads them, and what undoes it (None for `none`); raises ValueError for an unknown way."""
    if way == "none":
        return x, None
    if way == "constant":
        size = torch.full_like(x[:, :1], 1 / constant)
        return x * constant, Scaling(size, torch.zeros_like(size))
    if way == "norm_to_sqrt_d":
        size = x.norm(dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny) / x.shape[1] ** 0.5
        return x / size, Scaling(size, torch.zeros_like(size))
    if way == "mean_and_std":
        shift = x.mean(dim=1, keepdim=True)
        # Both codes divide by std + 1e-5 and give std back.
        std = ((x - shift) ** 2).sum(dim=1, keepdim=True).div(max(x.shape[1] - 1, 1)).sqrt()
        return (x - shift) / (std + EPSILON), Scaling(std, shift)
    raise ValueError(f"No normalisation is called {way!r}; known are {', '.join(WAYS)}.")
