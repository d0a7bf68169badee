"""Encoders that keep a different number of latents on each row: BatchTopK, and a threshold for each latent.

Both ask `topk_encode` for more than enough and keep what qualifies; rows that had not enough ask again for twice as
many. So they have its certificate, its gradients and its memory, and their codes are padded with zeros to the widest
row, as `sparse_decode` takes them.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kernels.encoder_pack import EncoderPack
from kernels.topk import TopK, topk
from kernels.topk_encode import STALE, encode_with, topk_encode

FIRST_TRY = 4
"""How many times the mean number of latents a row is asked for first."""


def batch_topk_encode_reference(
    x: Float[Tensor, "rows d_in"], W_enc: Float[Tensor, "d_in d_sae"], b_enc: Float[Tensor, "d_sae"], k: int
) -> Float[Tensor, "rows d_sae"]:
    """What `batch_topk_encode` is, written out: the rows * k largest pre-activations of the whole batch, then ReLU."""
    pre = (x.float() @ W_enc.float() + b_enc.float()).flatten()
    kept = topk(pre, len(x) * k)
    return torch.zeros_like(pre).scatter(0, kept.indices, kept.values).view(len(x), -1).relu()


def batch_topk_encode(
    x: Float[Tensor, "rows d_in"], W_enc: Float[Tensor, "d_in d_sae"], b_enc: Float[Tensor, "d_sae"], k: int
) -> TopK:
    """The rows * k largest positive pre-activations of the batch (BatchTopK, Bussmann et al. 2024, arXiv 2412.06410).

    Equal ones go to the earlier row, then to the lower index. Indices of padding are 0.
    """
    if not len(x):
        return TopK(x.new_zeros(0, 1), torch.zeros(0, 1, dtype=torch.int64, device=x.device))
    d_sae = W_enc.shape[1]
    width = min(FIRST_TRY * k, d_sae)
    while True:
        codes = topk_encode(x, W_enc, b_enc, width).codes
        # Column order within a row makes the flat order that of row, then index.
        by_index = codes.indices.argsort(dim=1, stable=True)
        values, indices = codes.values.gather(1, by_index), codes.indices.gather(1, by_index)
        chosen = topk(values.detach().flatten(), min(len(x) * k, values.numel())).indices
        keeps = torch.zeros(values.numel(), dtype=torch.bool, device=x.device)
        keeps[chosen] = True
        keeps = keeps.view(values.shape) & (values > 0)
        if width == d_sae or not keeps.all(dim=1).any():
            return _packed(values, indices, keeps)
        width = min(2 * width, d_sae)


def threshold_encode_reference(
    x: Float[Tensor, "rows d_in"],
    W_enc: Float[Tensor, "d_in d_sae"],
    b_enc: Float[Tensor, "d_sae"],
    threshold: Float[Tensor, "d_sae"],
) -> Float[Tensor, "rows d_sae"]:
    """What `threshold_encode` is, written out: z = pre * 1[pre > threshold] (JumpReLU)."""
    pre = x.float() @ W_enc.float() + b_enc.float()
    return pre * (pre > threshold)


def threshold_encode(
    x: Float[Tensor, "rows d_in"],
    W_enc: Float[Tensor, "d_in d_sae"],
    b_enc: Float[Tensor, "d_sae"],
    threshold: Float[Tensor, "d_sae"],
    expected: int = 64,
    *,
    pack: EncoderPack | None = None,
) -> TopK:
    """Every pre-activation above its latent's threshold (JumpReLU, Rajamanoharan et al. 2024, arXiv 2407.14435).

    BatchTopK at inference is the same threshold for all latents. `expected` is how many a row has about; `pack` is
    `pack_encoder(W_enc, b_enc, threshold)`. Raises ValueError for a negative threshold, which would let through what a
    ReLU stops, and for a pack of other or changed weights.
    """
    if bool((threshold < 0).any()):
        raise ValueError(f"Thresholds must be 0 or more; the lowest is {float(threshold.min()):g}.")
    if pack is not None and not pack.is_of(W_enc, b_enc, threshold):
        raise ValueError(STALE)
    d_sae = W_enc.shape[1]
    width = min(FIRST_TRY * expected, d_sae)
    while True:
        # What is left above the threshold is positive, so the largest of it are what a ReLU and a top-k give.
        above = encode_with(x, W_enc, b_enc - threshold, width, pack).codes
        if width == d_sae or not bool((above.values > 0).all(dim=1).any()):
            is_kept = above.values > 0
            return _packed(above.values + threshold[above.indices] * is_kept, above.indices, is_kept)
        width = min(2 * width, d_sae)


def _packed(values: Float[Tensor, "rows width"], indices: Tensor, keeps: Bool[Tensor, "rows width"]) -> TopK:
    """The kept entries first, largest first, cut at the widest row and filled with zeros."""
    width = max(1, int(keeps.sum(dim=1).max())) if len(keeps) else 1
    kept = values * keeps
    order = kept.detach().sort(dim=1, descending=True, stable=True).indices[:, :width]
    return TopK(kept.gather(1, order), indices.masked_fill(~keeps, 0).gather(1, order))
