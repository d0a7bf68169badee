"""`sparse_decode` on a GPU: one program for a row and a tile of d_in, summing its k directions in float32."""

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int64
from torch import Tensor

BLOCK_D = 256


def gathered_sum(
    values: Float[Tensor, "rows k"], indices: Int64[Tensor, "rows k"], W_dec: Float[Tensor, "d_sae d_in"]
) -> Float[Tensor, "rows d_in"]:
    """Σ_j values[r, j] W_dec[indices[r, j]], in the dtype of the values."""
    n_rows, k = values.shape
    d_in = W_dec.shape[1]
    out = torch.empty(n_rows, d_in, dtype=values.dtype, device=values.device)
    if n_rows and d_in:
        grid = (n_rows, triton.cdiv(d_in, BLOCK_D))
        _gathered_sum[grid](
            values.contiguous(), indices.contiguous(), W_dec.contiguous(), out, d_in, k, BLOCK_D=BLOCK_D
        )
    return out


@triton.jit
def _gathered_sum(values, indices, weight, out, d_in, k, BLOCK_D: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    inside = column < d_in
    total = tl.zeros([BLOCK_D], tl.float32)
    for slot in range(k):
        value = tl.load(values + row * k + slot).to(tl.float32)
        latent = tl.load(indices + row * k + slot)
        # Lanes beyond d_in must be filled: what an unfilled lane holds is undefined.
        part = tl.load(weight + latent * d_in + column, mask=inside, other=0.0).to(tl.float32)
        total += value * part
    tl.store(out + row * d_in + column, total.to(out.dtype.element_ty), mask=inside)
