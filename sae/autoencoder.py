"""Autoencoder: an SAE or transcoder of any kind, read the same way: encode to (values, indices), decode, facts.

Nothing of size [rows d_sae] is made: every kind goes through `kernels.topk_encode`.

1. Normalise. 2. Subtract b_dec where the SAE was trained so. 3. Encode by kind. 4. Decode, add b_dec.
5. Undo the normalisation, add x W_skip.
"""

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.encoder_pack import EncoderPack, pack_encoder
from kernels.group_encode import group_encode
from kernels.selective_encode import threshold_encode
from kernels.sparse_decode import sparse_decode
from kernels.topk import TopK
from kernels.topk_encode import topk_encode
from sae.facts import Facts
from sae.normalisation import normalise


@dataclass(frozen=True)
class Gate:
    """What a gated SAE has beside W_enc (Rajamanoharan et al. 2024, arXiv 2404.16014)."""

    b_gate: Float[Tensor, "d_sae"]
    b_mag: Float[Tensor, "d_sae"]
    r_mag: Float[Tensor, "d_sae"]


@dataclass(frozen=True)
class Autoencoder:
    """Weights and facts of an SAE; a row of W_dec is a latent's direction."""

    facts: Facts
    W_enc: Float[Tensor, "d_in d_sae"]
    b_enc: Float[Tensor, "d_sae"]
    W_dec: Float[Tensor, "d_sae d_out"]
    b_dec: Float[Tensor, "d_out"]
    threshold: Float[Tensor, "d_sae"] | None = None
    gate: Gate | None = None
    W_skip: Float[Tensor, "d_in d_out"] | None = None

    def encode(self, x: Float[Tensor, "rows d_in"]) -> TopK:
        """The latents that fire on each row, largest first; padded with value 0, index 0."""
        read, _ = self._read(x)
        return self._encode(read)

    def decode(self, codes: TopK) -> Float[Tensor, "rows d_out"]:
        """What codes reconstruct, in the normalised scale and without W_skip; `reconstruct` does the whole way."""
        return sparse_decode(codes.values, codes.indices, self.W_dec, self.b_dec)

    def reconstruct(self, x: Float[Tensor, "rows d_in"]) -> tuple[Float[Tensor, "rows d_out"], TopK]:
        """The reconstruction (or a transcoder's prediction) of each row, in its own scale, and the codes."""
        read, scaling = self._read(x)
        codes = self._encode(read)
        out = self.decode(codes)
        # A transcoder's output is another activation, to which the input's scale says nothing.
        out = scaling.undo(out) if scaling is not None and not self.facts.is_transcoder else out
        return (out if self.W_skip is None else out + x.float() @ self.W_skip), codes

    @cached_property
    def digest(self) -> str:
        """SHA-256 over kind, k, normalisation and weights, 32 hex digits: what a link names an SAE by."""
        facts = self.facts
        numbers = (facts.kind, facts.k, facts.normalisation, facts.norm_constant, facts.subtracts_b_dec)
        digest = hashlib.sha256(repr(numbers).encode())
        for name, weight in sorted(self.tensors().items()):
            digest.update(f"{name} {tuple(weight.shape)}".encode())
            digest.update(weight.detach().cpu().float().contiguous().numpy().tobytes())
        return digest.hexdigest()[:32]

    def tensors(self) -> dict[str, Tensor]:
        """Every weight by name."""
        found = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("facts", "gate")}
        if self.gate is not None:
            found |= {one.name: getattr(self.gate, one.name) for one in fields(self.gate)}
        return {name: value for name, value in found.items() if value is not None}

    @cached_property
    def _packed(self) -> EncoderPack | None:
        weights = [self.W_enc, *self._bias_and_threshold]
        if any(one.requires_grad or one.is_inference() for one in weights):
            return None
        return pack_encoder(*(weights[:2] if self.facts.kind == "topk" else weights))

    @cached_property
    def _bias_and_threshold(self) -> tuple[Tensor, Tensor]:
        """What a latent's pre-activation is added to, and must exceed."""
        bias = self.b_enc if self.gate is None else self.gate.b_gate
        return bias, self.threshold if self.threshold is not None else torch.zeros_like(bias)

    def _read(self, x: Tensor) -> tuple[Tensor, Any]:
        read, scaling = normalise(x.float(), self.facts.normalisation, self.facts.norm_constant)
        return read, scaling

    def _encode(self, read: Tensor) -> TopK:
        centred = read - self.b_dec if self.facts.subtracts_b_dec else read
        if self.facts.kind == "topk":
            assert self.facts.k is not None  # checked where an Autoencoder is made
            return topk_encode(centred, self.W_enc, self.b_enc, self.facts.k, pack=self._packed).codes
        if self.facts.kind == "group_topk":
            assert self.facts.k is not None
            return group_encode(centred, self.W_enc, self.b_enc, self.facts.k)
        if self.facts.kind == "gated":
            return self._encode_gated(centred)
        return threshold_encode(centred, self.W_enc, *self._bias_and_threshold, pack=self._packed)

    def _encode_gated(self, centred: Tensor) -> TopK:
        """Latents whose gate p + b_gate is open, at their magnitude ReLU(exp(r_mag) p + b_mag)."""
        assert self.gate is not None  # checked where an Autoencoder is made
        b_gate, b_mag, r_mag = self.gate.b_gate, self.gate.b_mag, self.gate.r_mag
        is_open, indices = threshold_encode(centred, self.W_enc, *self._bias_and_threshold, pack=self._packed)
        magnitude = (r_mag[indices].exp() * (is_open - b_gate[indices]) + b_mag[indices]).relu() * (is_open > 0)
        values, order = magnitude.sort(dim=1, descending=True, stable=True)
        return TopK(values, indices.gather(1, order).masked_fill(values == 0, 0))
