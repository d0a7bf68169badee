"""TopK encoding in one pass: z = TopK_k(ReLU(x W_enc + b_enc)), of which only [rows k] ever exists.

Certified mixed precision (exact=True), on CPU and GPU alike:
1. Multiply column tiles in bfloat16. 2. Bound the error of each product from norms (`certificate`).
3. The k-th largest lower bound is a floor: whatever may reach it is a candidate. 4. Score the candidates in float32.
The set and the values are those of the float32 reference, up to float32 rounding; ties go to the lower index.
The TopK SAE is that of Gao et al. 2024 (arXiv 2406.04093), section 2.3.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from kernels.backend import Choice, choose
from kernels.encoder_pack import EncoderPack, pack_encoder
from kernels.topk import TopK, topk_reference


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
    _check(x, W_enc, b_enc, k, pack)
    choice = choose(x, needs_bf16=True)
    if choice.backend == "reference" or len(x) == 0:
        return Encoded(topk_encode_reference(x, W_enc, b_enc, k), 0, choice)
    with torch.no_grad():
        codes, n_redone = _run(choice, x.float(), pack or pack_encoder(W_enc, b_enc), k, exact)
    if torch.is_grad_enabled() and any(one.requires_grad for one in (x, W_enc, b_enc)):
        from kernels.encoder_gradients import attach

        codes = attach(x, W_enc, b_enc, codes)
    return Encoded(codes, n_redone, choice)


def _run(choice: Choice, x: Tensor, pack: EncoderPack, k: int, exact: bool) -> tuple[TopK, int]:
    if choice.backend == "triton":
        from kernels.topk_encode_triton import encode
    else:
        from kernels.topk_encode_cpu import encode
    values, indices, is_open = encode(x, pack, k, exact)
    n_redone = int(is_open.sum())
    if n_redone:
        weight, bias = pack.weight[: pack.d_sae], pack.bias[: pack.d_sae]
        values[is_open], indices[is_open] = topk_encode_reference(x[is_open], weight.t(), bias, k)
    return TopK(values, indices), n_redone


def _check(
    x: Shaped[Tensor, "..."],
    W_enc: Shaped[Tensor, "..."],
    b_enc: Shaped[Tensor, "..."],
    k: int,
    pack: EncoderPack | None,
) -> None:
    d_in, d_sae = W_enc.shape
    if x.ndim != 2 or x.shape[1] != d_in or b_enc.shape != (d_sae,):
        shapes = ", ".join(str(tuple(one.shape)) for one in (x, W_enc, b_enc))
        raise ValueError(f"x, W_enc, b_enc must be [rows d_in], [d_in d_sae], [d_sae]; they are {shapes}.")
    if not 1 <= k <= d_sae:
        raise ValueError(f"k must be from 1 to d_sae = {d_sae}; it is {k}.")
    if pack is not None and not pack.is_of(W_enc, b_enc):
        raise ValueError("The pack is of other weights, or they were changed since: call pack_encoder again.")
