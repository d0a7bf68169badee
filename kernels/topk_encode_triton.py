"""`topk_encode` on a GPU, certified as on the CPU, in four passes; [rows d_sae] is never written.

1. Multiply tiles in bfloat16 and keep each chunk's largest lower bound. 2. The k-th largest is the floor.
3. Multiply again (tensor cores make that cheaper than keeping the products) and note whatever may reach the floor.
4. Score what was noted in float32.
"""

import os

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from kernels.certificate import RESULT_ROUNDING, product_error, row_norms
from kernels.encoder_pack import CHUNK, EncoderPack, Tile

BLOCK_ROWS, BLOCK_K, BLOCK_D = 64, 64, 256
SPARE = 8


def encode(
    x: Float32[Tensor, "rows d_in"], pack: EncoderPack, k: int, exact: bool
) -> tuple[Float32[Tensor, "rows k"], Int64[Tensor, "rows k"], Bool[Tensor, "rows"]]:
    """Values, indices, and which rows must be redone because no certificate could be given."""
    x_bf16 = x.bfloat16()
    norms = row_norms(x, x_bf16, pack)
    (tile,) = pack.tiles
    error = product_error(norms, tile.bounds)
    if not exact:
        error = torch.zeros_like(error)
    # The result stays in float32 here, so its rounding is that of the sum alone; the CPU's bound covers it.
    relative = RESULT_ROUNDING if exact else 0.0
    highest = _chunk_bounds(x_bf16, tile, error, relative)
    floor = _floor(highest, k)
    room = max(SPARE * k, 256)
    column, value, n_found = _note(x_bf16, tile, error, relative, floor, room)
    is_open = (n_found > room) | ~norms.is_sound
    if exact:
        value = _score(x, pack, column, n_found.clamp(max=room))
    return *_largest(value, column, n_found.clamp(max=room), k), is_open


def _chunk_bounds(x: Tensor, tile: Tile, error: Tensor, relative: float) -> Float32[Tensor, "rows chunks"]:
    n_chunks = len(tile.bounds.norm)
    out = torch.empty(len(x), n_chunks, device=x.device)
    grid = (triton.cdiv(len(x), BLOCK_ROWS), n_chunks)
    _chunk_bounds_kernel[grid](
        *(x, tile.weight, tile.bias, error, out, len(x), x.shape[1], n_chunks, relative),
        **_blocks(),
    )
    return out


def _floor(highest: Tensor, k: int) -> Float32[Tensor, "rows"]:
    if highest.shape[1] < k:
        return torch.zeros(len(highest), device=highest.device)
    return highest.topk(k, dim=1, sorted=False).values.amin(dim=1).clamp_(min=0)


def _note(
    x: Tensor, tile: Tile, error: Tensor, relative: float, floor: Tensor, room: int
) -> tuple[Tensor, Tensor, Tensor]:
    column = torch.zeros(len(x), room, dtype=torch.int64, device=x.device)
    value = torch.zeros(len(x), room, device=x.device)
    n_found = torch.zeros(len(x), dtype=torch.int32, device=x.device)
    n_chunks = len(tile.bounds.norm)
    grid = (triton.cdiv(len(x), BLOCK_ROWS), n_chunks)
    _note_kernel[grid](
        *(x, tile.weight, tile.bias, error, floor, column, value, n_found),
        *(len(x), x.shape[1], n_chunks, room, relative),
        **_blocks(),
    )
    return column, value, n_found


def _score(x: Tensor, pack: EncoderPack, column: Tensor, n_found: Tensor) -> Float32[Tensor, "rows room"]:
    out = torch.zeros(column.shape, device=x.device)
    grid = (len(x), column.shape[1])
    _score_kernel[grid](
        *(x.contiguous(), pack.weight, pack.bias, column, n_found, out, x.shape[1], column.shape[1]), BLOCK_D=BLOCK_D
    )
    return out


def _largest(value: Tensor, column: Tensor, n_found: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest positive ones; entries were noted in any order, so they are put in order of column first."""
    is_there = torch.arange(column.shape[1], device=column.device) < n_found[:, None]
    column, order = column.masked_fill(~is_there, torch.iinfo(torch.int64).max).sort(dim=1)
    value = value.masked_fill(~is_there, 0).gather(1, order).clamp_(min=0)
    value, order = value.sort(dim=1, descending=True, stable=True)
    value, column = value[:, :k].contiguous(), column.gather(1, order[:, :k])
    return value, column.masked_fill(value == 0, 0)


def _blocks() -> dict[str, object]:
    """The interpreter multiplies bfloat16 wrongly, so there the product is taken in float32."""
    in_float32 = os.environ.get("TRITON_INTERPRET") == "1"
    return {"CHUNK": CHUNK, "BLOCK_ROWS": BLOCK_ROWS, "BLOCK_K": BLOCK_K, "IN_FLOAT32": in_float32}


@triton.jit
def _products(
    x, weight, bias, first_row, chunk, n_rows, d_in,
    CHUNK: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_K: tl.constexpr, IN_FLOAT32: tl.constexpr,
):  # fmt: skip
    """Pre-activations [BLOCK_ROWS CHUNK] of a block of rows and one chunk of latents."""
    row = (first_row + tl.arange(0, BLOCK_ROWS)).to(tl.int64)
    latent = (chunk * CHUNK + tl.arange(0, CHUNK)).to(tl.int64)
    total = tl.zeros([BLOCK_ROWS, CHUNK], tl.float32)
    for start in range(0, d_in, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        inside = inner < d_in
        a = tl.load(x + row[:, None] * d_in + inner[None], mask=(row < n_rows)[:, None] & inside[None], other=0.0)
        b = tl.load(weight + latent[None] * d_in + inner[:, None], mask=inside[:, None], other=0.0)
        if IN_FLOAT32:
            total += tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
        else:
            total += tl.dot(a, b)
    return total + tl.load(bias + latent).to(tl.float32)[None]


@triton.jit
def _chunk_bounds_kernel(
    x, weight, bias, error, out, n_rows, d_in, n_chunks, relative,
    CHUNK: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_K: tl.constexpr, IN_FLOAT32: tl.constexpr,
):  # fmt: skip
    first_row, chunk = tl.program_id(0) * BLOCK_ROWS, tl.program_id(1)
    total = _products(x, weight, bias, first_row, chunk, n_rows, d_in, CHUNK, BLOCK_ROWS, BLOCK_K, IN_FLOAT32)
    highest = tl.maximum(tl.max(total, 1), 0.0)
    row = (first_row + tl.arange(0, BLOCK_ROWS)).to(tl.int64)
    place, inside = row * n_chunks + chunk, row < n_rows
    bound = highest * (1 - relative) - tl.load(error + place, mask=inside, other=0.0)
    tl.store(out + place, bound, mask=inside)


@triton.jit
def _note_kernel(
    x, weight, bias, error, floor, column, value, n_found, n_rows, d_in, n_chunks, room, relative,
    CHUNK: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_K: tl.constexpr, IN_FLOAT32: tl.constexpr,
):  # fmt: skip
    first_row, chunk = tl.program_id(0) * BLOCK_ROWS, tl.program_id(1)
    total = _products(x, weight, bias, first_row, chunk, n_rows, d_in, CHUNK, BLOCK_ROWS, BLOCK_K, IN_FLOAT32)
    row = (first_row + tl.arange(0, BLOCK_ROWS)).to(tl.int64)
    inside = row < n_rows
    band = tl.load(error + row * n_chunks + chunk, mask=inside, other=0.0)[:, None] + relative * tl.maximum(total, 0.0)
    reach = total + band
    latent = (chunk * CHUNK + tl.arange(0, CHUNK)).to(tl.int64)
    lowest = tl.load(floor + row, mask=inside, other=float("inf"))[:, None]
    may = (reach >= lowest) & (reach > 0) & inside[:, None]
    n_here = tl.sum(may.to(tl.int32), 1)
    first = tl.atomic_add(n_found + row, n_here, mask=inside & (n_here > 0))
    slot = first[:, None] + tl.cumsum(may.to(tl.int32), 1) - 1
    fits = may & (slot < room)
    place = row[:, None] * room + slot
    tl.store(column + place, latent[None] + tl.zeros_like(place), mask=fits)
    tl.store(value + place, total, mask=fits)


@triton.jit
def _score_kernel(x, weight, bias, column, n_found, out, d_in, room, BLOCK_D: tl.constexpr):
    row, slot = tl.program_id(0).to(tl.int64), tl.program_id(1)
    if slot < tl.load(n_found + row):
        latent = tl.load(column + row * room + slot)
        total = tl.zeros([BLOCK_D], tl.float32)
        for start in range(0, d_in, BLOCK_D):
            inner = start + tl.arange(0, BLOCK_D)
            inside = inner < d_in
            a = tl.load(x + row * d_in + inner, mask=inside, other=0.0)
            total += a * tl.load(weight + latent * d_in + inner, mask=inside, other=0.0)
        tl.store(out + row * room + slot, tl.sum(total, 0) + tl.load(bias + latent))
