"""Group top-k: the largest latent of each of k groups of neighbours, as sparsify's `groupmax` keeps them.

No latent competes beyond its group, so there is no top-k to certify: float32 tiles of whole groups, a maximum each.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.encoder_gradients import attach
from kernels.topk import TopK

ROWS, TILE = 128, 8192
"""Rows and latents that are multiplied at a time: 4 MB of products."""


def group_encode_reference(
    x: Float[Tensor, "rows d_in"], W_enc: Float[Tensor, "d_in d_sae"], b_enc: Float[Tensor, "d_sae"], k: int
) -> Float[Tensor, "rows d_sae"]:
    """What `group_encode` is, written out: ReLU, and of each of k equal groups the first of its largest entries."""
    pre = (x.float() @ W_enc.float() + b_enc.float()).relu().unflatten(1, (k, -1))
    best = pre.argmax(dim=2, keepdim=True)
    return torch.zeros_like(pre).scatter(2, best, pre.gather(2, best)).flatten(1)


def group_encode(
    x: Float[Tensor, "rows d_in"], W_enc: Float[Tensor, "d_in d_sae"], b_enc: Float[Tensor, "d_sae"], k: int
) -> TopK:
    """The largest positive pre-activation of each of k equal groups, in float32, largest first.

    Equal ones go to the lower index; a group without a positive one gives value 0, index 0. Gradients reach x, W_enc
    and b_enc through the kept values. Raises ValueError for a k that does not divide d_sae.
    """
    d_sae = W_enc.shape[1]
    if k < 1 or d_sae % k:
        raise ValueError(f"k must divide d_sae = {d_sae:,} into groups; it is {k}.")
    with torch.no_grad():
        parts = [_encode_rows(rows.float(), W_enc, b_enc, d_sae // k) for rows in x.split(ROWS)]
        codes = TopK(*(torch.cat(part) for part in zip(*parts, strict=True)))
    if torch.is_grad_enabled() and any(one.requires_grad for one in (x, W_enc, b_enc)):
        codes = attach(x, W_enc, b_enc, codes)
    return codes


def _encode_rows(x: Tensor, W_enc: Tensor, b_enc: Tensor, group: int) -> tuple[Tensor, Tensor]:
    d_sae = W_enc.shape[1]
    width = max(1, TILE // group) * group
    found = []
    for start in range(0, d_sae, width):
        tile = slice(start, min(start + width, d_sae))
        pre = torch.addmm(b_enc[tile].float(), x, W_enc[:, tile].float()).relu_().unflatten(1, (-1, group))
        place = pre.argmax(dim=2, keepdim=True)
        offsets = torch.arange(start, tile.stop, group, device=x.device)
        found.append((pre.gather(2, place).squeeze(2), place.squeeze(2) + offsets))
    values, indices = (torch.cat(part, dim=1) for part in zip(*found, strict=True))
    values, order = values.sort(dim=1, descending=True, stable=True)
    return values, indices.gather(1, order).masked_fill(values == 0, 0)
