"""EncoderPack: an encoder's weights laid out for `topk_encode`, with what bounds the error of bfloat16."""

from dataclasses import dataclass

import torch
from jaxtyping import BFloat16, Float, Float32
from torch import Tensor
from torch.nn.functional import pad

CHUNK = 64
"""Latents whose largest pre-activation is looked at together; a multiple of the vector width of every backend."""


@dataclass(frozen=True)
class ChunkBounds:
    """The largest of each over the latents of a chunk: ‖w‖, ‖w − bf16(w)‖, |b − bf16(b)|."""

    norm: Float32[Tensor, "chunks"]
    rounding: Float32[Tensor, "chunks"]
    bias_rounding: Float32[Tensor, "chunks"]


@dataclass(frozen=True)
class EncoderPack:
    """Copies of W_enc and b_enc, padded to whole chunks by latents that never fire.

    `weight` has a latent's direction in a row, so that single latents are read in one piece.
    """

    weight: Float32[Tensor, "padded d_in"]
    weight_bf16: BFloat16[Tensor, "padded d_in"]
    bias: Float32[Tensor, "padded"]
    bias_bf16: BFloat16[Tensor, "padded"]
    bounds: ChunkBounds
    d_sae: int
    source: tuple[tuple[int, int], ...]
    """Address and version counter of the tensors that were packed."""

    def is_of(self, W_enc: Tensor, b_enc: Tensor) -> bool:
        """Whether these are the packed tensors, unchanged; writes through `.data` are not noticed by torch."""
        return self.source == _identity(W_enc, b_enc)

    @property
    def n_bytes(self) -> int:
        """Memory that the pack holds."""
        tensors = (self.weight, self.weight_bf16, self.bias, self.bias_bf16)
        return sum(one.numel() * one.element_size() for one in tensors)


def pack_encoder(W_enc: Float[Tensor, "d_in d_sae"], b_enc: Float[Tensor, "d_sae"]) -> EncoderPack:
    """The pack of an encoder, for calls that use it again and again; 1.5 times the weights' float32 size."""
    d_sae = W_enc.shape[1]
    missing = -d_sae % CHUNK
    weight = pad(W_enc.detach().float().t(), (0, 0, 0, missing)).contiguous()
    # The smallest bfloat16 keeps a padded latent below every positive pre-activation and finite.
    bias = pad(b_enc.detach().float(), (0, missing), value=torch.finfo(torch.bfloat16).min)
    weight_bf16, bias_bf16 = weight.bfloat16(), bias.bfloat16()
    bounds = ChunkBounds(
        _by_chunk(weight.norm(dim=1)),
        _by_chunk((weight - weight_bf16.float()).norm(dim=1)),
        _by_chunk((bias - bias_bf16.float()).abs()),
    )
    return EncoderPack(weight, weight_bf16, bias, bias_bf16, bounds, d_sae, _identity(W_enc, b_enc))


def _by_chunk(values: Float32[Tensor, "padded"]) -> Float32[Tensor, "chunks"]:
    return values.view(-1, CHUNK).amax(dim=1)


def _identity(*tensors: Tensor) -> tuple[tuple[int, int], ...]:
    return tuple((one.data_ptr(), one._version) for one in tensors)
