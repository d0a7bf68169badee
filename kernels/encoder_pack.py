"""EncoderPack: an encoder's weights laid out for `topk_encode`, with what bounds the error of bfloat16."""

from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import BFloat16, Float, Float32
from torch import Tensor
from torch.nn.functional import pad

from kernels.backend import choose, has_fast_bf16

CHUNK = 64
"""Latents that the GPU's kernels look at together: neighbours, the width of one program."""
CPU_CHUNK = 16
"""On a CPU they lie a stride apart, so that the maxima of all chunks are vertical: 6 to 20 times as fast."""
TILE = 8192
"""Most latents that a CPU multiplies at a time."""
ROUND_TO = 128
"""Tiles are padded to whole chunks, whose number is a multiple of 8."""
NORMS_AT_ONCE = 256
"""Latents whose rounding is measured at a time: in one piece it took seven times as long, out of cache."""
REORDERED_FOR = 256
"""Rows that the reordered weights are best for; any number may be multiplied."""
SAMPLE = 256
"""Entries that are compared before a pack is used."""
SLACK = 1 + 2.0**-8
"""On every bound, for what the norms and the bound itself lose to float32."""
SUM_ROUNDING = 2.0 * 2.0**-24
"""Per term: twice the unit of float32."""
SMALLEST = 2.0**-125
"""Per term: the instructions for bfloat16 may take what is smaller than 2^-126 for 0."""


@dataclass(frozen=True)
class ChunkBounds:
    """The largest of each over the latents of a chunk: ‖w‖, ‖w − bf16(w)‖, |b − bf16(b)| with what summing b costs."""

    norm: Float32[Tensor, "chunks"]
    rounding: Float32[Tensor, "chunks"]
    bias_rounding: Float32[Tensor, "chunks"]


@dataclass(frozen=True)
class Tile:
    """Latents from `start` on that are multiplied together, padded by latents that never fire.

    `weight` [width d_in] is in bfloat16, plain or in the order that oneDNN multiplies in.
    """

    start: int
    weight: Tensor
    bias: BFloat16[Tensor, "width"]
    bounds: ChunkBounds

    @property
    def width(self) -> int:
        """Latents with padding."""
        return len(self.bias)

    def multiply(self, x: BFloat16[Tensor, "rows d_in"]) -> BFloat16[Tensor, "rows width"]:
        """Pre-activations of rows, summed in float32 and rounded once."""
        if self.weight.is_mkldnn:
            product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
            return product
        return torch.addmm(self.bias, x, self.weight.t())


@dataclass(frozen=True)
class EncoderPack:
    """Copies of W_enc and b_enc. `weight` has a latent's direction in a row, to read single latents in one piece."""

    weight: Float32[Tensor, "d_sae d_in"]
    bias: Float32[Tensor, "d_sae"]
    tiles: tuple[Tile, ...]
    largest: tuple[float, float]
    """Of the norms, and of the biases' sizes."""
    backend: str
    source: tuple[Tensor, ...]
    """The tensors that were packed: held, so that no others can come to lie where they lay."""
    versions: tuple[int, ...]

    def is_of(self, *tensors: Tensor) -> bool:
        """Whether these are the packed tensors, unchanged.

        torch counts writes, save those through `.data`; a sample of the entries is compared for the sake of those.
        """
        return (
            len(tensors) == len(self.source)
            and all(_is_same(one, other) for one, other in zip(tensors, self.source, strict=True))
            and self.versions == _versions(tensors)
            and _sample_agrees(tensors[0], self.weight)
        )

    @property
    def d_sae(self) -> int:
        """Latents without padding."""
        return len(self.bias)

    @property
    def n_bytes(self) -> int:
        """Memory that the pack holds beyond the weights it was made from."""
        held = [self.bias, *(one for tile in self.tiles for one in (tile.weight, tile.bias))]
        if self.weight.data_ptr() != self.source[0].data_ptr():
            held.append(self.weight)
        return sum(one.numel() * one.element_size() for one in held)


def pack_encoder(
    W_enc: Float[Tensor, "d_in d_sae"], b_enc: Float[Tensor, "d_sae"], threshold: Float[Tensor, "d_sae"] | None = None
) -> EncoderPack:
    """The pack of an encoder (with `threshold`: for `threshold_encode`), for calls that use it again and again.

    It takes 1.5 times the weights' float32 size, a third of that where W_enc is the transpose of a contiguous tensor.
    Raises ValueError for tensors made in inference mode, whose changes torch does not count.
    """
    source = (W_enc, b_enc) if threshold is None else (W_enc, b_enc, threshold)
    if any(one.is_inference() for one in source):
        raise ValueError("Weights made in inference mode cannot be packed: torch does not count writes to them.")
    return _pack(source, is_for_reuse=True)


def pack_for_one_call(W_enc: Float[Tensor, "d_in d_sae"], b_enc: Float[Tensor, "d_sae"]) -> EncoderPack:
    """The pack without what pays only when it is used again."""
    return _pack((W_enc, b_enc), is_for_reuse=False)


@torch.no_grad()
def _pack(source: tuple[Tensor, ...], is_for_reuse: bool) -> EncoderPack:
    W_enc, b_enc, *threshold = source
    weight = W_enc.detach().t().float().contiguous()
    bias = b_enc.detach().float()
    if threshold:
        bias = bias - threshold[0].detach().float()
    backend = choose(W_enc).backend
    tiles: tuple[Tile, ...] = ()
    if backend == "triton":
        tiles = (_tile(weight, bias, 0, _padded(len(weight), CHUNK), is_strided=False, is_reordered=False),)
    elif backend == "cpu" and has_fast_bf16():
        width = tile_width(len(weight), TILE)
        starts = range(0, len(weight), width)
        is_reordered = is_for_reuse and can_reorder()
        tiles = tuple(_tile(weight, bias, start, width, True, is_reordered) for start in starts)
    norms = [weight.new_zeros(1), *(tile.bounds.norm for tile in tiles)]
    largest = (float(torch.cat(norms).max()), float(bias.abs().max()))
    held = tuple(one.detach() for one in source) if is_for_reuse else ()
    return EncoderPack(weight, bias, tiles, largest, backend, held, _versions(held))


def tile_width(d_sae: int, most: int) -> int:
    """Latents in each tile, all of equal width, none above `most`."""
    n_tiles = -(-d_sae // most)
    return _padded(-(-d_sae // n_tiles), ROUND_TO)


def _padded(n: int, multiple: int) -> int:
    return n + -n % multiple


def _tile(weight: Tensor, bias: Tensor, start: int, width: int, is_strided: bool, is_reordered: bool) -> Tile:
    part, its_bias = weight[start : start + width], bias[start : start + width]
    missing = width - len(part)
    low = torch.zeros(width, weight.shape[1], dtype=torch.bfloat16, device=weight.device)
    norm, rounding = _round(part, low)
    # The smallest bfloat16 keeps a padded latent below every positive pre-activation and finite.
    its_bias = pad(its_bias, (0, missing), value=torch.finfo(torch.bfloat16).min)
    bias_low = its_bias.bfloat16()
    d_in = weight.shape[1]
    # A padded latent's bias is left out: it needs no bound, and has the largest.
    from_bias = (its_bias - bias_low.float()).abs() + SUM_ROUNDING * d_in * its_bias.abs()
    each = (norm, rounding + SMALLEST * d_in, from_bias[: len(part)] + SMALLEST * d_in)
    bounds = ChunkBounds(*(SLACK * _by_chunk(pad(one, (0, missing)), is_strided) for one in each))
    if is_reordered:
        low = torch.ops.mkldnn._reorder_linear_weight(low, REORDERED_FOR)
    return Tile(start, low, bias_low, bounds)


def _round(weight: Float32[Tensor, "n d_in"], low: BFloat16[Tensor, "width d_in"]) -> tuple[Tensor, Tensor]:
    """Write bf16(w) into `low`; ‖w‖ and ‖w − bf16(w)‖ of each latent."""
    norms, roundings = [weight.new_zeros(0)], [weight.new_zeros(0)]
    for part, its_low in zip(weight.split(NORMS_AT_ONCE), low[: len(weight)].split(NORMS_AT_ONCE), strict=True):
        its_low.copy_(part)
        norms.append(part.norm(dim=1))
        roundings.append(torch.sub(part, its_low).norm(dim=1))
    return torch.cat(norms), torch.cat(roundings)


def _by_chunk(values: Float32[Tensor, "width"], is_strided: bool) -> Float32[Tensor, "chunks"]:
    return values.view(CPU_CHUNK, -1).amax(dim=0) if is_strided else values.view(-1, CHUNK).amax(dim=1)


@cache
def can_reorder() -> bool:
    """Whether oneDNN can hold weights in its own order, which saves reordering them at each product."""
    if not torch.backends.mkldnn.is_available():
        return False
    names = ("_linear_pointwise", "_reorder_linear_weight", "_is_mkldnn_bf16_supported")
    return all(hasattr(torch.ops.mkldnn, name) for name in names) and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _is_same(one: Tensor, other: Tensor) -> bool:
    return (one.data_ptr(), one.shape, one.stride(), one.dtype) == (
        other.data_ptr(),
        other.shape,
        other.stride(),
        other.dtype,
    )


def _versions(tensors: tuple[Tensor, ...]) -> tuple[int, ...]:
    return tuple(-1 if one.is_inference() else one._version for one in tensors)


def _sample_agrees(W_enc: Tensor, weight: Tensor) -> bool:
    """Whether entries along a diagonal are those that were packed."""
    now, then = W_enc.detach().t().diagonal()[:SAMPLE], weight.diagonal()[:SAMPLE]
    return torch.equal(now.float().nan_to_num(), then.nan_to_num())
