"""SAEs of every kind with random weights, for tests."""

import torch
from torch import Tensor

from sae.autoencoder import Autoencoder, Gate
from sae.facts import Facts

D_IN, D_SAE, K = 12, 40, 5


def normal(*shape: int, seed: int) -> Tensor:
    """Normal entries, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(kind: str, **facts: object) -> Autoencoder:
    """An SAE of that kind with random weights."""
    gate = Gate(normal(D_SAE, seed=5) * 0.3, normal(D_SAE, seed=6) * 0.3, normal(D_SAE, seed=7) * 0.3)
    return Autoencoder(
        Facts(kind, D_IN, D_SAE, K if kind in ("topk", "group_topk") else None, **facts),
        normal(D_IN, D_SAE, seed=1),
        normal(D_SAE, seed=2) * 0.1,
        normal(D_SAE, D_IN, seed=3),
        normal(D_IN, seed=4),
        threshold=normal(D_SAE, seed=8).abs() if kind in ("jumprelu", "batch_topk") else None,
        gate=gate if kind == "gated" else None,
    )
