"""TopK encoding in one pass: z = TopK_k(ReLU(x W_enc + b_enc)), of which only [rows k] ever exists.

Certified mixed precision (exact=True), on CPU and GPU alike:
1. Multiply column tiles in bfloat16. 2. Bound the error of each product from norms (`certificate`).
3. The k-th largest lower bound is a floor: whatever may reach it is a candidate. 4. Score the candidates in float32.
The set and the values are those of the float32 reference, up to float32 rounding; ties go to the lower index.
Rows with NaN or infinity, or whose products may leave float32's range, get the reference's own answer: NaN counts as
larger than everything, and stays NaN. So do rows with more candidates than there is room for; `n_redone` counts both.
The TopK SAE is that of Gao et al. 2024 (arXiv 2406.04093), section 2.3.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from kernels.backend import Choice, choose_encoder
from kernels.encoder_pack import EncoderPack, pack_for_one_call
from kernels.row_counts import count_rows
from kernels.topk import TopK, topk_reference

STALE = "The pack is of other weights, or they were changed since: call pack_encoder again."
REDONE_AT_ONCE = 1 << 21
"""Pre-activations that are written out at a time where rows are redone."""


@dataclass(frozen=True)
class Encoded:
    """The codes, how many rows the certificate could not cover and float32 redid, and which backend ran."""

    codes: TopK
    n_redone: int
    choice: Choice


def topk_encode_reference(
    x: Float[Tensor, "rows d_in"], W_enc: Float[Tensor, "d_in d_sae"], b_enc: Float[Tensor, "d_sae"], k: int
) -> TopK:
    """What `topk_encode` is: every pre-activation in float32, ReLU, a stable top-k.

    A slot without a positive pre-activation has value 0 and index 0.
    """
    values, indices = topk_reference((x.float() @ W_enc.float() + b_enc.float()).relu(), k)
    return TopK(values, indices.masked_fill(values == 0, 0))


def topk_encode(
    x: Float[Tensor, "rows d_in"],
    W_enc: Float[Tensor, "d_in d_sae"],
    b_enc: Float[Tensor, "d_sae"],
    k: int,
    *,
    pack: EncoderPack | None = None,
    exact: bool = True,
) -> Encoded:
    """The k largest positive pre-activations of each row, in float32; see the module.

    `pack` (from `pack_encoder`) saves the layout of the weights and must be of these very tensors. exact=False skips
    step 4: the values are those of the bfloat16 product, and the set may differ near its edge. Gradients reach x,
    W_enc and b_enc through the kept values. Raises ValueError for a k outside 1 to d_sae, shapes that do not fit, and
    a pack of other or changed weights.
    """
    _check(x, W_enc, b_enc, k)
    if pack is not None and not pack.is_of(W_enc, b_enc):
        raise ValueError(STALE)
    return encode_with(x, W_enc, b_enc, k, pack, exact)


def encode_with(
    x: Float[Tensor, "rows d_in"],
    W_enc: Float[Tensor, "d_in d_sae"],
    b_enc: Float[Tensor, "d_sae"],
    k: int,
    pack: EncoderPack | None,
    exact: bool = True,
) -> Encoded:
    """`topk_encode` after its checks, for those that have made them."""
    choice = choose_encoder(x, len(b_enc), k, pack is not None, exact)
    if choice.backend == "reference" or len(x) == 0:
        return Encoded(topk_encode_reference(x, W_enc, b_enc, k), 0, choice)
    with torch.no_grad():
        values, indices, is_open = _run(choice, x.float(), W_enc, b_enc, k, pack, exact)
        n_redone = int(is_open.sum())
        if n_redone:
            values[is_open], indices[is_open] = _redone(x[is_open].float(), W_enc, b_enc, k)
    count_rows("topk_encode", choice.backend, len(x), n_redone)
    codes = TopK(values, indices)
    if torch.is_grad_enabled() and any(one.requires_grad for one in (x, W_enc, b_enc)):
        from kernels.encoder_gradients import attach

        codes = attach(x, W_enc, b_enc, codes)
    return Encoded(codes, n_redone, choice)


def _run(
    choice: Choice, x: Tensor, W_enc: Tensor, b_enc: Tensor, k: int, pack: EncoderPack | None, exact: bool
) -> tuple[Tensor, Tensor, Tensor]:
    from kernels.topk_encode_cpu import encode, encode_in_float32

    if choice.dtype == torch.float32:
        return encode_in_float32(x, W_enc, b_enc, k)
    pack = pack if pack is not None and pack.backend == choice.backend else pack_for_one_call(W_enc, b_enc)
    if choice.backend == "triton":
        from kernels.topk_encode_triton import encode as encode_on_gpu

        return encode_on_gpu(x, pack, k, exact)
    return encode(x, pack, k, exact)


def _redone(x: Tensor, W_enc: Tensor, b_enc: Tensor, k: int) -> TopK:
    """Codes by the reference, a few rows at a time, so that not even these are written out together."""
    n_rows = max(1, REDONE_AT_ONCE // len(b_enc))
    parts = [topk_encode_reference(block, W_enc, b_enc, k) for block in x.split(n_rows)]
    return TopK(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _check(
    x: Shaped[Tensor, "..."],
    W_enc: Shaped[Tensor, "..."],
    b_enc: Shaped[Tensor, "..."],
    k: int,
) -> None:
    d_in, d_sae = W_enc.shape
    if x.ndim != 2 or x.shape[1] != d_in or b_enc.shape != (d_sae,):
        shapes = ", ".join(str(tuple(one.shape)) for one in (x, W_enc, b_enc))
        raise ValueError(f"x, W_enc, b_enc must be [rows d_in], [d_in d_sae], [d_sae]; they are {shapes}.")
    if not 1 <= k <= d_sae:
        raise ValueError(f"k must be from 1 to d_sae = {d_sae}; it is {k}.")
