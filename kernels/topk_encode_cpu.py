"""`topk_encode` on a CPU: tiles through the matrix library, candidates through chunk maxima.

A positive bfloat16 or float32 sorts as the integer with its bits, and integer maxima were measured seven times as fast
as bfloat16's; so the largest pre-activation of each chunk is found on the bits. The k-th largest chunk maximum bounds
the k-th largest pre-activation from below, since k chunks hold one each.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from kernels.backend import has_fast_bf16
from kernels.certificate import RESULT_ROUNDING, product_error, row_norms
from kernels.encoder_pack import CHUNK, ChunkBounds, EncoderPack
from kernels.sampled_product import sampled_product

ROWS = 128
CHUNKS_IN_TILE = 128
"""A tile of bfloat16 products is 2 MB: larger ones were no faster, and this is the most that exists at a time."""
CHUNKS_PER_K = 4
"""The first tile must have several times k chunks, or its floor is so low that nearly all of it is candidates."""
SPARE = 8
"""A row may have this many times k candidates, and at least 256; beyond that it is redone in float32."""


@dataclass(frozen=True)
class Candidates:
    """Entries that may be among the k largest, by row and then by column, and rows that have too many of them."""

    row: Int64[Tensor, "n"]
    column: Int64[Tensor, "n"]
    value: Float32[Tensor, "n"]
    is_open: Bool[Tensor, "rows"]


def encode(
    x: Float32[Tensor, "rows d_in"], pack: EncoderPack, k: int, exact: bool
) -> tuple[Float32[Tensor, "rows k"], Int64[Tensor, "rows k"], Bool[Tensor, "rows"]]:
    """Values, indices, and which rows must be redone because no certificate could be given."""
    parts = [_encode_block(block, pack, k, exact) for block in x.split(ROWS)]
    values, indices, is_open = (torch.cat(part) for part in zip(*parts, strict=True))
    return values, indices, is_open


def _encode_block(x: Tensor, pack: EncoderPack, k: int, exact: bool) -> tuple[Tensor, Tensor, Tensor]:
    in_bf16 = has_fast_bf16()
    found = _candidates(x, pack, k, in_bf16, with_error=exact and in_bf16)
    starts = torch.zeros(len(x) + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(found.row, minlength=len(x)), 0, out=starts[1:])
    value = found.value
    if exact and in_bf16:
        value = sampled_product(x, pack.weight, starts, found.column).add_(pack.bias[found.column])
    return *_largest(value, found, starts, k), found.is_open


def _candidates(x: Tensor, pack: EncoderPack, k: int, in_bf16: bool, with_error: bool) -> Candidates:
    x_low = x.bfloat16()
    norms = row_norms(x, x_low, pack)
    is_open = ~norms.is_sound
    factor = x_low if in_bf16 else x
    n_found = torch.zeros(len(x), dtype=torch.int64)
    highest = torch.zeros(len(x), 0)
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    width = CHUNK * max(CHUNKS_IN_TILE, CHUNKS_PER_K * k)
    for start in range(0, len(pack.weight), width):
        tile = _multiply(factor, pack, slice(start, start + width), in_bf16)
        chunk_max = _chunk_maxima(tile)
        error = torch.zeros_like(chunk_max)
        if with_error:
            chunks = slice(start // CHUNK, start // CHUNK + chunk_max.shape[1])
            error = product_error(norms, _cut(pack.bounds, chunks), x.shape[1]).add_(chunk_max, alpha=RESULT_ROUNDING)
        # Each lower bound that is kept belongs to a chunk of its own.
        lower = torch.cat([highest, chunk_max - error], dim=1)
        highest = lower.topk(min(k, lower.shape[1]), dim=1, sorted=False).values
        row, column, value, band = _above(tile, chunk_max, error, _floor(highest, k), is_open)
        n_found += torch.bincount(row, minlength=len(x))
        is_open |= n_found > max(SPARE * k, 256)
        parts.append((row, column + start, value, band))
    row, column, value, band = (torch.cat(part) for part in zip(*parts, strict=True))
    stays = (value + band >= _floor(highest, k)[row]) & ~is_open[row]
    order = torch.argsort(row[stays], stable=True)
    return Candidates(row[stays][order], column[stays][order], value[stays][order], is_open)


def _multiply(factor: Tensor, pack: EncoderPack, part: slice, in_bf16: bool) -> Tensor:
    weight, bias = (pack.weight_bf16, pack.bias_bf16) if in_bf16 else (pack.weight, pack.bias)
    return torch.addmm(bias[part], factor, weight[part].t())


def _chunk_maxima(tile: Tensor) -> Float32[Tensor, "rows chunks"]:
    """The largest entry of each chunk, 0 where none is positive."""
    bits = tile.view(torch.int16 if tile.dtype == torch.bfloat16 else torch.int32)
    highest = bits.view(len(tile), -1, CHUNK).amax(dim=2).clamp_(min=0)
    return highest.view(tile.dtype).float()


def _floor(highest: Tensor, k: int) -> Float32[Tensor, "rows"]:
    """What the k-th largest pre-activation reaches for sure; 0 where fewer than k were seen, as ReLU would have it."""
    if highest.shape[1] < k:
        return torch.zeros(len(highest))
    return highest.amin(dim=1).clamp_(min=0)


def _above(
    tile: Tensor, chunk_max: Tensor, error: Tensor, floor: Tensor, is_open: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Row, column, value and error of the entries of a tile that may reach the floor and may be positive."""
    reach = chunk_max + error
    row, chunk = ((reach >= floor[:, None]) & (reach > 0) & ~is_open[:, None]).nonzero(as_tuple=True)
    entries = tile.view(len(tile), -1, CHUNK)[row, chunk]
    # The rounding of a smaller result is smaller, so its chunk's bound covers it.
    band = error[row, chunk]
    needed = floor[row] - band
    # Rounded down, so that entries are compared in their own format; an entry of exactly 0 does no harm.
    needed = torch.sub(needed, needed.abs(), alpha=2.0**-7).to(tile.dtype)
    hit, place = (entries >= needed[:, None]).nonzero(as_tuple=True)
    return row[hit], chunk[hit] * CHUNK + place, entries[hit, place].float(), band[hit]


def _cut(bounds: ChunkBounds, chunks: slice) -> ChunkBounds:
    return ChunkBounds(bounds.norm[chunks], bounds.rounding[chunks], bounds.bias_rounding[chunks])


def _largest(value: Tensor, found: Candidates, starts: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row's candidates; columns rise within a row, so a stable sort keeps the tie rule."""
    n_rows = len(starts) - 1
    width = max(k, int(starts.diff().max()))
    values, indices = torch.zeros(n_rows, width), torch.zeros(n_rows, width, dtype=torch.int64)
    slot = torch.arange(len(value)) - starts[found.row]
    values[found.row, slot] = value.clamp(min=0)
    indices[found.row, slot] = found.column
    values, order = values.sort(dim=1, descending=True, stable=True)
    values, indices = values[:, :k].contiguous(), indices.gather(1, order[:, :k])
    return values, indices.masked_fill(values == 0, 0)
