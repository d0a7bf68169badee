"""The losses of a TopK SAE in training, as Gao et al. 2024 (arXiv 2406.04093) and its code have them.

L = mse_scale mean((x̂ − x)²) + aux_coefficient NMSE(ê, e), with e = x − stopgrad(x̂) and ê decoded from dead latents.
Normalised here means: over the error of predicting the batch's mean. Others call other ratios so; see FVU.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from sae.data_parallel import averaged

FIRES = 0.0
"""A latent fires on a token where its value is above this."""


def mse_scale(sample: Float[Tensor, "rows d"]) -> float:
    """1 / mean((x − mean of the batch)²), found once on a sample: predicting its mean then costs 1."""
    return float(1 / ((sample - sample.mean(dim=0)) ** 2).mean())


def normalised_error(guess: Float[Tensor, "rows d"], target: Float[Tensor, "rows d"]) -> Float[Tensor, ""]:
    """mean((guess − target)²) / mean((target − mean of the batch)²); 0 where the target does not vary."""
    # The mean and the spread are those of the whole batch where several processes share it.
    spread = averaged(((target - averaged(target.mean(dim=0))) ** 2).mean())
    return torch.nan_to_num(((guess - target) ** 2).mean() / spread, nan=0.0, posinf=0.0)


def fvu(guess: Float[Tensor, "rows d"], target: Float[Tensor, "rows d"]) -> float:
    """Fraction of variance unexplained: Σ‖x − x̂‖² / Σ‖x − x̄‖², sums over the rows, x̄ their mean; 0 is perfect."""
    return float(((guess - target) ** 2).sum() / ((target - target.mean(dim=0)) ** 2).sum())
