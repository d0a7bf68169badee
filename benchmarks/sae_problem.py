"""The shapes and data that the kernel benchmarks share: unit directions, activations with a few strong latents each."""

from dataclasses import dataclass

import torch
from torch import Tensor

SHAPES = ((192, 4096, 32), (768, 24576, 32), (768, 131072, 32), (2048, 65536, 64))
"""d_in, d_sae, k."""
ROWS = 512
N_ACTIVE = 20


@dataclass(frozen=True)
class Problem:
    """An SAE's weights and rows that its directions explain in part, as trained ones do."""

    x: Tensor
    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    k: int

    @property
    def name(self) -> str:
        """The shape as the table writes it."""
        return f"{len(self.x)} rows, d_in {self.W_enc.shape[0]}, d_sae {self.W_enc.shape[1]}, k {self.k}"


def problem(d_in: int, d_sae: int, k: int, rows: int = ROWS, seed: int = 0) -> Problem:
    """A seeded Problem: each row is a sum of N_ACTIVE directions and noise."""
    draw = torch.Generator().manual_seed(seed)
    W_dec = torch.randn(d_sae, d_in, generator=draw)
    W_dec /= W_dec.norm(dim=1, keepdim=True)
    active = torch.randint(0, d_sae, (rows, N_ACTIVE), generator=draw)
    strength = torch.rand(rows, N_ACTIVE, generator=draw) + 0.5
    x = torch.stack([(W_dec[row] * s[:, None]).sum(0) for row, s in zip(active, strength, strict=True)])
    x += 0.5 * torch.randn(rows, d_in, generator=draw) / d_in**0.5
    return Problem(x, W_dec.t().contiguous(), torch.zeros(d_sae), W_dec, torch.zeros(d_in), k)
