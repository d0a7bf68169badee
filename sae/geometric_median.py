"""The geometric median of rows: the point with the least sum of distances to them (Weiszfeld's iteration)."""

import torch
from jaxtyping import Float
from torch import Tensor

MAX_ROWS = 32_768
"""How many rows Gao et al. (2024) take it of, to start b_dec from."""


@torch.no_grad()
def geometric_median(
    rows: Float[Tensor, "rows d"], max_steps: int = 100, tolerance: float = 1e-6
) -> Float[Tensor, "d"]:
    """The point that minimises the sum of distances to at most MAX_ROWS rows; raises ValueError for none."""
    if not len(rows):
        raise ValueError("A geometric median needs at least one row.")
    rows = rows[:MAX_ROWS].double()
    guess = rows.mean(dim=0)
    nearest = float(rows.std()) * 1e-9 + torch.finfo(torch.float64).tiny
    for _ in range(max_steps):
        weight = 1 / (rows - guess).norm(dim=1).clamp_min(nearest)
        new = (rows * weight[:, None]).sum(dim=0) / weight.sum()
        moved = float((new - guess).norm())
        guess = new
        if moved <= tolerance * float(guess.norm() + nearest):
            break
    return guess.float()
