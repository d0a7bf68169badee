"""`topk_encode` on a CPU: tiles through the matrix library, candidates through chunk maxima.

1. Multiply some rows with a tile of latents. 2. Take the largest of each chunk, on the bits: a positive float sorts as
the integer with its bits, and integer maxima are vectorised. 3. k chunks hold one entry each, so the k-th largest lower
bound of a chunk's maximum is a floor under the k-th largest pre-activation. 4. Note the entries of the tile that may
reach the floor. 5. After the last tile, drop those that the last floor rules out. 6. Score the others in float32.
The tiles are float32, and nothing is scored again, where bfloat16 is slow or does not pay.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from kernels.certificate import RESULT_ROUNDING, RowNorms, product_error, row_norms
from kernels.encoder_pack import CPU_CHUNK, TILE, EncoderPack, tile_width
from kernels.sampled_product import sampled_product

SCORED_AT_ONCE = 512
"""Rows whose candidates are scored together."""
FEWEST_ROWS = 128
"""Rows that are multiplied at a time with the widest tile; with `TILE`, this bounds memory: 2 MB of products.

256 rows were 4 % quicker and took twice the memory."""
GROUPS_PER_K = 4
"""The floor is found among at least this many times k maxima, or it is so low that nearly all is a candidate."""
SPARE = 8
"""A row may have this many times k candidates, and at least 256; beyond that it is redone in float32."""
LEAST = 2.0**-149
"""The smallest positive float32: a candidate may be above 0."""
LOW_HALF = 2**32 - 1
"""Of a key of two numbers, the lower half."""


@dataclass(frozen=True)
class Product:
    """Pre-activations of a tile; entry [row, j, c] is that of latent start + c + j n_chunks, one of chunk c."""

    start: int
    entries: Float[Tensor, "rows chunk chunks"]
    error: Float32[Tensor, "rows chunks"] | None
    """How far entries may be from the truth, besides the rounding of the result; None for float32 and unscored ones."""


@dataclass(frozen=True)
class Candidates:
    """Entries that may be among the k largest, by row; the columns of a row are in any order."""

    row: Int64[Tensor, "n"]
    column: Int64[Tensor, "n"]
    value: Float32[Tensor, "n"]


class Noted(NamedTuple):
    """Chunks that may hold a candidate: latents `first`, `first + stride`, ...; `gap` is how far off the largest is."""

    row: Int64[Tensor, "n"]
    first: Int64[Tensor, "n"]
    stride: Int64[Tensor, "n"]
    entries: Float[Tensor, "n chunk"]
    gap: Float32[Tensor, "n"]


Codes = tuple[Float32[Tensor, "rows k"], Int64[Tensor, "rows k"], Bool[Tensor, "rows"]]
"""Values, indices, and which rows must be redone because no certificate could be given."""


def encode(x: Float32[Tensor, "rows d_in"], pack: EncoderPack, k: int, exact: bool) -> Codes:
    """The codes of rows from bfloat16 tiles; exact=False does without bounds and step 6."""
    n_rows = rows_at_once(pack.tiles[0].width, TILE)

    def candidates(block: Tensor) -> tuple[Candidates, Tensor]:
        low = block.bfloat16()
        norms = row_norms(block, low, pack)
        is_open = ~norms.is_sound
        return _candidates(_bfloat16_products(low, pack, norms if exact else None), k, is_open), is_open

    return _encode(x, candidates, n_rows, k, pack if exact else None)


def encode_in_float32(
    x: Float32[Tensor, "rows d_in"], W_enc: Float[Tensor, "d_in d_sae"], b_enc: Float[Tensor, "d_sae"], k: int
) -> Codes:
    """The same from float32 tiles: no pack, and no row is open but those with too many equal entries, or NaN."""
    # Twice the bytes an entry, so half the latents.
    width = tile_width(len(b_enc), TILE // 2)

    def candidates(block: Tensor) -> tuple[Candidates, Tensor]:
        is_open = torch.zeros(len(block), dtype=torch.bool)
        return _candidates(_float32_products(block, W_enc, b_enc, width, is_open), k, is_open), is_open

    return _encode(x, candidates, rows_at_once(width, TILE // 2), k, None)


def rows_at_once(width: int, widest: int) -> int:
    """How many rows are multiplied with a tile of this width, for products of the same size."""
    return FEWEST_ROWS * min(SCORED_AT_ONCE // FEWEST_ROWS, widest // width or 1)


def _encode(
    x: Tensor,
    candidates: Callable[[Tensor], tuple[Candidates, Tensor]],
    n_rows: int,
    k: int,
    pack: EncoderPack | None,
) -> Codes:
    """Codes from the candidates of each block of rows, scored with a pack's weights if there is one."""
    parts = []
    for group in x.split(SCORED_AT_ONCE):
        size = -(-len(group) // -(-len(group) // n_rows))
        blocks = [candidates(block) for block in group.split(size)]
        found = [one for one, _ in blocks]
        row = torch.cat([one.row + size * at for at, one in enumerate(found)])
        column, value = torch.cat([one.column for one in found]), torch.cat([one.value for one in found])
        if pack is not None:
            value = _scores(group, pack, row, column)
        parts.append((*_largest(row, column, value, len(group), k), torch.cat([is_open for _, is_open in blocks])))
    values, indices, opened = (torch.cat(part) for part in zip(*parts, strict=True))
    return values, indices, opened


def _bfloat16_products(low: Tensor, pack: EncoderPack, norms: RowNorms | None) -> Iterator[Product]:
    for tile in pack.tiles:
        # Without a name here, a tile is freed before the next one is made.
        yield Product(
            tile.start,
            tile.multiply(low).unflatten(1, (CPU_CHUNK, -1)),
            None if norms is None else product_error(norms, tile.bounds),
        )


def _float32_products(x: Tensor, W_enc: Tensor, b_enc: Tensor, width: int, is_open: Tensor) -> Iterator[Product]:
    """The tiles; rows with an entry that is not finite are opened."""
    for start in range(0, len(b_enc), width):
        weight, bias = W_enc[:, start : start + width].float(), b_enc[start : start + width].float()
        entries = torch.empty(len(x), width)
        torch.addmm(bias, x, weight, out=entries[:, : len(bias)])
        entries[:, len(bias) :] = -1
        is_open |= ~entries.sum(dim=1).isfinite()
        yield Product(start, entries.unflatten(1, (CPU_CHUNK, -1)), None)
        del entries


def _scores(x: Tensor, pack: EncoderPack, row: Tensor, column: Tensor) -> Float32[Tensor, "n"]:
    """Pre-activations of single entries in float32; in the order of latents, so that each is read from memory once."""
    column, order = _in_order(column)
    starts = torch.zeros(pack.d_sae + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(column, minlength=pack.d_sae), 0, out=starts[1:])
    scores = sampled_product(pack.weight, x, starts, row[order]).add_(pack.bias[column])
    return torch.empty_like(scores).index_copy_(0, order, scores)


def _in_order(numbers: Int64[Tensor, "n"]) -> tuple[Int64[Tensor, "n"], Int64[Tensor, "n"]]:
    """A stable sort of numbers below 2^31, and where each was; numpy's was measured ten times as fast as torch's."""
    keys = (numbers << 32) | torch.arange(len(numbers))
    keys.numpy().sort()
    return keys >> 32, keys & LOW_HALF


def _candidates(products: Iterator[Product], k: int, is_open: Bool[Tensor, "rows"]) -> Candidates:
    """What may be among the k largest of each row that is not open; rows with too much of it are opened."""
    room = max(SPARE * k, 256)
    highest = torch.zeros(len(is_open), 0)
    noted = []
    for product in products:
        top = _chunk_maxima(product.entries)
        gap = torch.zeros_like(top) if product.error is None else product.error.add_(top, alpha=RESULT_ROUNDING)
        highest = _highest(highest, top - gap, k)
        floor = _floor(highest, k, is_open)
        flat = (top.add_(gap) >= floor[:, None]).view(-1).nonzero().view(-1)
        if len(flat) > room // 4 * len(is_open):
            flat = flat[_fits(flat // top.shape[1], room, is_open)]
        noted.append(_note(product, gap, flat))
        del product
    found = _above(Noted(*(torch.cat(part) for part in zip(*noted, strict=True))), _floor(highest, k, is_open))
    fits = _fits(found.row, room, is_open)
    return Candidates(found.row[fits], found.column[fits], found.value[fits])


def _fits(row: Int64[Tensor, "n"], room: int, is_open: Bool[Tensor, "rows"]) -> Bool[Tensor, "n"] | slice:
    """Which of these are of rows that are not open, once rows that have more than `room` of them are opened."""
    is_open |= torch.bincount(row, minlength=len(is_open)) > room
    return ~is_open[row] if is_open.any() else slice(None)


def _chunk_maxima(entries: Float[Tensor, "rows chunk chunks"]) -> Float32[Tensor, "rows chunks"]:
    """The largest entry of each chunk, 0 where none is positive."""
    bits = entries.view(torch.int16 if entries.dtype == torch.bfloat16 else torch.int32)
    return bits.amax(dim=1).clamp_(min=0).view(entries.dtype).float()


def _highest(highest: Tensor, lower: Tensor, k: int) -> Tensor:
    """The k largest lower bounds so far, each of another chunk; neighbouring chunks first share one where many are."""
    n_rows, n_chunks = lower.shape
    share = next(n for n in (8, 4, 2, 1) if n == 1 or n_chunks // n >= GROUPS_PER_K * k)
    lower = lower.view(n_rows, share, -1).amax(dim=1)
    seen = torch.cat([highest, lower], dim=1) if highest.shape[1] else lower
    return seen.topk(min(k, seen.shape[1]), dim=1, sorted=False).values


def _floor(highest: Tensor, k: int, is_open: Tensor) -> Float32[Tensor, "rows"]:
    """What the k-th largest pre-activation reaches for sure, if it is positive; out of reach for open rows."""
    lowest = highest.amin(dim=1) if highest.shape[1] == k else highest.new_zeros(len(highest))
    return lowest.clamp_(min=LEAST).masked_fill_(is_open, torch.inf)


def _note(product: Product, gap: Tensor, flat: Tensor) -> Noted:
    """The chunks [row chunk] of a tile at these places."""
    n_chunks = gap.shape[1]
    row = flat // n_chunks
    chunk = flat - row * n_chunks
    stride = torch.full_like(chunk, n_chunks)
    return Noted(row, product.start + chunk, stride, product.entries[row, :, chunk], gap.view(-1).index_select(0, flat))


def _above(noted: Noted, floor: Float32[Tensor, "rows"]) -> Candidates:
    """The entries that may reach the floor, by row."""
    needed = floor.index_select(0, noted.row).sub_(noted.gap)
    # Rounded down, so that entries are compared in their own format; this covers negative ones beyond the gap too.
    needed = torch.sub(needed, needed.abs(), alpha=2.0**-7).to(noted.entries.dtype)
    hit = (noted.entries >= needed[:, None]).view(-1).nonzero().view(-1)
    value = noted.entries.view(-1).index_select(0, hit).float()
    place, chunk = hit & (CPU_CHUNK - 1), hit // CPU_CHUNK
    column = noted.first.index_select(0, chunk).addcmul_(place, noted.stride.index_select(0, chunk))
    row, order = _in_order(noted.row.index_select(0, chunk))
    return Candidates(row, column.index_select(0, order), value.index_select(0, order))


def _largest(row: Tensor, column: Tensor, value: Tensor, n_rows: int, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row, by a key of value and column: larger first, then the lower column."""
    counts = torch.bincount(row, minlength=n_rows)
    slot = torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]
    width = max(k, int(counts.max()))
    keys = torch.zeros(n_rows, width, dtype=torch.int64)
    bits = value.clamp(min=0).view(torch.int32).to(torch.int64)
    keys[row, slot] = (bits << 32) | (LOW_HALF - column)
    best = keys.topk(k, dim=1).values
    values = (best >> 32).to(torch.int32).view(torch.float32)
    indices = (LOW_HALF - (best & LOW_HALF)).masked_fill_(values == 0, 0)
    return values, indices
