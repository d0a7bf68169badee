"""How far a bfloat16 product can be from the true pre-activation, row by chunk of latents.

With x = x' + dx, w = w' + dw and primes for bfloat16: |x·w − x'·w'| <= ‖dx‖‖w‖ + ‖x'‖‖dw‖ (Cauchy-Schwarz). To that
come float32 summation in any order (d 2^-24 (‖x'‖‖w'‖ + |b|), taken twice), the bias's own rounding, what is flushed to
zero (`SMALLEST`), and the rounding of the result: 2^-8 of it, once, since sum and bias are added in float32. Every norm
is widened by `SLACK`, far more than computing it and the bound in float32 can lose.

Why the k largest are then certain: let L be the k-th largest of the lower bounds (product − error) of entries that are
all different. k entries are truly at L or above, so the true k-th largest is; an entry whose upper bound is below L is
truly below it and cannot be among the k largest. All others are scored in float32.
"""

from dataclasses import dataclass

import torch
from jaxtyping import BFloat16, Bool, Float32
from torch import Tensor

from kernels.encoder_pack import SLACK, SMALLEST, SUM_ROUNDING, ChunkBounds, EncoderPack

RESULT_ROUNDING = 2.0**-8 * SLACK
LARGEST = 1e37
"""Products that may come near float32's range are left to the reference."""


@dataclass(frozen=True)
class RowNorms:
    """‖x − bf16(x)‖ with the sum's rounding, ‖bf16(x)‖, and whether the row's products are sure to be finite."""

    rounding: Float32[Tensor, "rows"]
    rounded: Float32[Tensor, "rows"]
    is_sound: Bool[Tensor, "rows"]


def row_norms(x: Float32[Tensor, "rows d_in"], x_bf16: BFloat16[Tensor, "rows d_in"], pack: EncoderPack) -> RowNorms:
    """The norms of rows that are multiplied with a pack."""
    d_in = x.shape[1]
    whole = x.norm(dim=1)
    rounded = torch.linalg.vector_norm(x_bf16, dim=1, dtype=torch.float32)
    rounding = torch.sub(x, x_bf16).norm(dim=1) + SUM_ROUNDING * d_in * (whole + rounded) + SMALLEST * d_in
    reach = whole * pack.largest[0] + pack.largest[1]
    # A NaN anywhere makes the comparison false.
    return RowNorms(SLACK * rounding, SLACK * rounded, reach < LARGEST)


def product_error(rows: RowNorms, bounds: ChunkBounds) -> Float32[Tensor, "rows chunks"]:
    """The bound without the rounding of the result, which grows with the result."""
    from_x = torch.outer(rows.rounding, bounds.norm)
    return from_x.addcmul_(rows.rounded[:, None], bounds.rounding[None]).add_(bounds.bias_rounding)
