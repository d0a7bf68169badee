"""`topk_encode` on a CPU: tiles through the matrix library, candidates through chunk maxima.

1. Multiply some rows with a tile of latents. 2. Take the largest of each chunk, on the bits: a positive float sorts as
the integer with its bits, and integer maxima are vectorised. 3. k chunks hold one entry each, so the k-th largest lower
bound of a chunk's maximum is a floor under the k-th largest pre-activation. 4. Note the entries of the tile that may
reach the floor. 5. After the last tile, drop those that the last floor rules out. 6. Score the others in float32.
The tiles are float32, and nothing is scored again, where bfloat16 is slow or does not pay.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor
from torch.nn.functional import pad

from kernels.certificate import RESULT_ROUNDING, product_error, row_norms
from kernels.encoder_pack import CPU_CHUNK, TILE, EncoderPack, tile_width
from kernels.sampled_product import sampled_product

SCORED_AT_ONCE = 1024
"""Rows whose candidates are scored together."""
FEWEST_ROWS = 128
"""Rows that are multiplied at a time with the widest tile; with `TILE`, this bounds memory: 8 MB of products."""
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


Codes = tuple[Float32[Tensor, "rows k"], Int64[Tensor, "rows k"], Bool[Tensor, "rows"]]
"""Values, indices, and which rows must be redone because no certificate could be given."""


def encode(x: Float32[Tensor, "rows d_in"], pack: EncoderPack, k: int, exact: bool) -> Codes:
    """The codes of rows from bfloat16 tiles; exact=False leaves out steps 5 and 6."""
    n_rows = _rows_at_once(pack.tiles[0].width, TILE)
    return _joined([_encode_group(group, pack, k, exact, n_rows) for group in x.split(SCORED_AT_ONCE)])


def _encode_group(x: Tensor, pack: EncoderPack, k: int, exact: bool, n_rows: int) -> Codes:
    x_low = x.bfloat16()
    norms = row_norms(x, x_low, pack)
    is_open = ~norms.is_sound

    def products(rows: slice) -> Iterator[Product]:
        for tile in pack.tiles:
            entries = tile.multiply(x_low[rows]).unflatten(1, (CPU_CHUNK, -1))
            yield Product(tile.start, entries, product_error(norms.at(rows), tile.bounds) if exact else None)

    found = _of_all_rows(products, k, is_open, n_rows)
    value = _scores(x, pack, found) if exact else found.value
    return *_largest(found.row, found.column, value, len(x), k), is_open


def encode_in_float32(
    x: Float32[Tensor, "rows d_in"], W_enc: Float[Tensor, "d_in d_sae"], b_enc: Float[Tensor, "d_sae"], k: int
) -> Codes:
    """The same from float32 tiles: no pack, and no row is open but those with too many equal entries, or NaN."""
    # Twice the bytes an entry, so half the latents.
    width = tile_width(len(b_enc), TILE // 2)
    n_rows = _rows_at_once(width, TILE // 2)
    return _joined([_float32_group(group, W_enc, b_enc, k, width, n_rows) for group in x.split(SCORED_AT_ONCE)])


def _float32_group(x: Tensor, W_enc: Tensor, b_enc: Tensor, k: int, width: int, n_rows: int) -> Codes:
    is_open = torch.zeros(len(x), dtype=torch.bool)

    def products(rows: slice) -> Iterator[Product]:
        for start in range(0, len(b_enc), width):
            tile = slice(start, start + width)
            entries = torch.addmm(b_enc[tile].float(), x[rows], W_enc[:, tile].float())
            is_open[rows] |= ~entries.sum(dim=1).isfinite()
            missing = width - entries.shape[1]
            entries = pad(entries, (0, missing), value=-1.0) if missing else entries
            yield Product(start, entries.unflatten(1, (CPU_CHUNK, -1)), None)

    found = _of_all_rows(products, k, is_open, n_rows)
    return *_largest(found.row, found.column, found.value, len(x), k), is_open


def _rows_at_once(width: int, widest: int) -> int:
    return FEWEST_ROWS * max(1, widest // width)


def _joined(parts: "list[tuple[Tensor, ...]]") -> Codes:
    values, indices, is_open = (torch.cat(part) for part in zip(*parts, strict=True))
    return values, indices, is_open


def _of_all_rows(
    products: Callable[[slice], Iterator[Product]], k: int, is_open: Bool[Tensor, "rows"], n_rows: int
) -> Candidates:
    """The candidates of blocks of equal size; rows with too many are opened."""
    n_blocks = -(-len(is_open) // n_rows)
    size = -(-len(is_open) // n_blocks)
    starts = range(0, len(is_open), size)
    found = [_candidates(products(slice(at, at + size)), k, is_open[at : at + size]) for at in starts]
    row = torch.cat([one.row + at for at, one in zip(starts, found, strict=True)])
    return Candidates(row, torch.cat([one.column for one in found]), torch.cat([one.value for one in found]))


def _scores(x: Tensor, pack: EncoderPack, found: Candidates) -> Float32[Tensor, "n"]:
    """Pre-activations of single entries in float32; in the order of latents, so that each is read from memory once."""
    column, order = _in_order(found.column)
    starts = torch.zeros(pack.d_sae + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(column, minlength=pack.d_sae), 0, out=starts[1:])
    scores = sampled_product(pack.weight, x, starts, found.row[order]).add_(pack.bias[column])
    return torch.empty_like(scores).index_copy_(0, order, scores)


def _in_order(numbers: Int64[Tensor, "n"]) -> tuple[Int64[Tensor, "n"], Int64[Tensor, "n"]]:
    """A stable sort of numbers below 2^31, and where each was; numpy's was measured ten times as fast as torch's."""
    keys = (numbers << 32) | torch.arange(len(numbers))
    keys.numpy().sort()
    return keys >> 32, keys & LOW_HALF


def _candidates(products: Iterator[Product], k: int, is_open: Tensor) -> Candidates:
    """What may be among the k largest of each row that is not open; rows with too much of it are opened."""
    room = max(SPARE * k, 256)
    highest = torch.zeros(len(is_open), 0)
    parts = []
    for product in products:
        top = _chunk_maxima(product.entries)
        gap = torch.zeros_like(top) if product.error is None else product.error.add_(top, alpha=RESULT_ROUNDING)
        highest = _highest(highest, top - gap, k)
        floor = _floor(highest, k, is_open)
        flat = (top + gap >= floor[:, None]).view(-1).nonzero().view(-1)
        flat = flat[_fits(flat // top.shape[1], room, is_open)]
        parts.append(_above(product, gap, flat, floor))
    row, column, value, reach = parts[0]
    if len(parts) > 1:
        row, column, value, reach = (torch.cat(part) for part in zip(*parts, strict=True))
        stays = (reach >= floor[row]).nonzero().view(-1)
        row, order = _in_order(row.index_select(0, stays))
        stays = stays.index_select(0, order)
        column, value = column.index_select(0, stays), value.index_select(0, stays)
    fits = _fits(row, room, is_open)
    return Candidates(row[fits], column[fits], value[fits])


def _fits(row: Int64[Tensor, "n"], room: int, is_open: Bool[Tensor, "rows"]) -> Bool[Tensor, "n"] | slice:
    """Which of these are of rows that are not open, once rows that have more than `room` of them are opened."""
    crowded = torch.bincount(row, minlength=len(is_open)) > room
    is_open |= crowded
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


def _above(product: Product, gap: Tensor, flat: Tensor, floor: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Row, column, value and reach of the entries that may reach the floor, in chunks that may."""
    n_chunks = gap.shape[1]
    row = flat // n_chunks
    chunk = flat - row * n_chunks
    entries = product.entries[row, :, chunk]
    # How far the chunk's largest entry may be below the truth; a smaller one no further.
    band = gap.view(-1).index_select(0, flat)
    needed = floor.index_select(0, row).sub_(band)
    # Rounded down, so that entries are compared in their own format; this covers negative ones beyond the band too.
    needed = torch.sub(needed, needed.abs(), alpha=2.0**-7).to(entries.dtype)
    hit = (entries >= needed[:, None]).view(-1).nonzero().view(-1)
    value = entries.view(-1).index_select(0, hit).float()
    place, hit = hit % CPU_CHUNK, hit // CPU_CHUNK
    column = (chunk + product.start).index_select(0, hit).add_(place, alpha=n_chunks)
    return row.index_select(0, hit), column, value, value + band.index_select(0, hit)


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
