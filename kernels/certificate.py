"""How far a bfloat16 product can be from the true pre-activation, row by chunk of latents.

With x = x' + dx, w = w' + dw and primes for bfloat16: |x·w − x'·w'| <= ‖dx‖‖w‖ + ‖x'‖‖dw‖ (Cauchy-Schwarz). To that
come float32 summation (2 d 2^-24 ‖x‖‖w‖), the bias's own rounding, and the rounding of the result (2^-8 of it, twice
bfloat16's unit, so that adding the bias may round too).
"""

from dataclasses import dataclass

import torch
from jaxtyping import BFloat16, Bool, Float32
from torch import Tensor

from kernels.encoder_pack import ChunkBounds, EncoderPack

RESULT_ROUNDING = 2.0**-8
SUM_ROUNDING = 2.0 * 2.0**-24
LARGEST = 1e37
"""Products that may come near float32's range are left to the reference."""


@dataclass(frozen=True)
class RowNorms:
    """‖x‖, ‖x − bf16(x)‖ and ‖bf16(x)‖ of each row, and whether its products are sure to be finite."""

    whole: Float32[Tensor, "rows"]
    rounding: Float32[Tensor, "rows"]
    rounded: Float32[Tensor, "rows"]
    is_sound: Bool[Tensor, "rows"]


def row_norms(x: Float32[Tensor, "rows d_in"], x_bf16: BFloat16[Tensor, "rows d_in"], pack: EncoderPack) -> RowNorms:
    """The norms of rows that are multiplied with a pack."""
    back = x_bf16.float()
    whole = x.norm(dim=1)
    reach = whole * pack.bounds.norm.max() + pack.bias[: pack.d_sae].abs().max()
    # A NaN anywhere makes the comparison false.
    return RowNorms(whole, (x - back).norm(dim=1), back.norm(dim=1), reach < LARGEST)


def product_error(rows: RowNorms, bounds: ChunkBounds, d_in: int) -> Float32[Tensor, "rows chunks"]:
    """The bound without the rounding of the result, which grows with the result."""
    from_x = torch.outer(rows.rounding + SUM_ROUNDING * d_in * rows.whole, bounds.norm)
    return from_x.addmm_(rows.rounded[:, None], bounds.rounding[None]).add_(bounds.bias_rounding)
