"""`scattered_product` on a GPU: one program for a latent and a tile of d, so that nothing is added atomically."""

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Float32, Int64
from torch import Tensor

BLOCK_D = 256


def gather_rows(
    values: Float32[Tensor, "nnz"],
    row: Int64[Tensor, "nnz"],
    starts: Int64[Tensor, "starts"],
    dense: Float[Tensor, "rows d"],
) -> Float32[Tensor, "n d"]:
    """Σ over j from starts[i] to starts[i + 1] of values[j] dense[row[j]], for every i; always the same order."""
    n, d = len(starts) - 1, dense.shape[1]
    out = torch.empty(n, d, device=dense.device)
    if n and d:
        _gather_rows[(n, triton.cdiv(d, BLOCK_D))](
            values.contiguous(), row.contiguous(), starts.contiguous(), dense.contiguous(), out, d, BLOCK_D=BLOCK_D
        )
    return out


@triton.jit
def _gather_rows(values, row, starts, dense, out, d, BLOCK_D: tl.constexpr):
    latent = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    inside = column < d
    total = tl.zeros([BLOCK_D], tl.float32)
    first = tl.load(starts + latent)
    last = tl.load(starts + latent + 1)
    for entry in range(first, last):
        value = tl.load(values + entry)
        source = tl.load(row + entry)
        total += value * tl.load(dense + source * d + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + latent * d + column, total, mask=inside)
