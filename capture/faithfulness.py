"""Faithfulness: does the model with hooks say what the plain transformers model says?

1. Run the same tokens through both, and compare logits (largest difference, KL) and residual streams (cosine).
2. Check that what was captured adds up: resid_pre + attn_out + mlp_out = resid_post, and each block's resid_pre is
   the resid_post of the block before it.
3. Give one verdict: ok, differs (some number is outside what rounding explains), wrong.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from capture.hook_point import HookPoint
from capture.session import ModelSession

Status = Literal["ok", "differs", "wrong"]
Captured = Mapping[HookPoint, Tensor]

_PARTS = ("resid_pre", "attn_out", "mlp_out", "resid_post")


@dataclass(frozen=True)
class Limits:
    """How far rounding alone may carry the numbers apart; logits and identities as a share of the largest entry."""

    logits: float
    kl_nats: float
    cosine: float
    identity: float


# float32: other kernels sum in another order (1e-6 a sum), over tens of blocks. bfloat16 keeps 8 bits (0.4 %).
OK = {"float32": Limits(1e-3, 1e-6, 0.99999, 1e-5), "bfloat16": Limits(0.1, 0.02, 0.99, 0.02)}
OK["float16"] = Limits(0.02, 1e-3, 0.999, 0.005)
# Beyond these the two are different models, in any dtype.
WRONG_KL_NATS = 0.2
WRONG_COSINE = 0.9


@dataclass(frozen=True)
class Faithfulness:
    """The comparison's verdict and its numbers.

    `logit_max_diff` is absolute; `kl_nats` is the mean over positions of KL(plain || hooked); `cosine_by_layer` is the
    mean over positions, of the residual stream after each block (with experts, rounding may send one token to another
    expert; that is "differs"); `identity_max_diff` is the largest violation as
    a share of the largest entry of that residual stream. A number that could not be computed is NaN (null in JSON).
    """

    status: Status
    logit_max_diff: float
    kl_nats: float
    cosine_by_layer: tuple[float, ...]
    identity_max_diff: float
    n_tokens: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `from_json` reads it."""
        cosines = [_null_if_nan(cosine) for cosine in self.cosine_by_layer]
        numbers = {key: _null_if_nan(value) for key, value in asdict(self).items() if isinstance(value, float)}
        return {"status": self.status, **numbers, "cosine_by_layer": cosines, "n_tokens": self.n_tokens}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Faithfulness":
        """What `to_json` wrote."""
        numbers = {key: _nan_if_null(data[key]) for key in ("logit_max_diff", "kl_nats", "identity_max_diff")}
        cosines = tuple(_nan_if_null(cosine) for cosine in data["cosine_by_layer"])
        return cls(status=data["status"], cosine_by_layer=cosines, n_tokens=int(data["n_tokens"]), **numbers)


def check(session: ModelSession, tokens: Sequence[int]) -> Faithfulness:
    """Compare a run of these tokens with hooks to the plain transformers forward over the same weights."""
    plain_logits, plain_residuals = session.reference(tokens)
    logits = session.logits(tokens)
    captured = session.capture(tokens, _points(session))
    layers = range(session.shape.n_layers)
    residuals = [captured[HookPoint(layer, "resid_post")] for layer in layers]
    cosines = tuple(_cosine(own, plain) for own, plain in zip(residuals, plain_residuals, strict=True))
    logit_diff = float((logits - plain_logits).abs().max())
    kl_nats = _kl_nats(plain_logits, logits)
    identity = max((_identity(captured, layer) for layer in layers), key=lambda share: (math.isnan(share), share))
    relative = logit_diff / max(float(plain_logits.abs().max()), 1e-30)
    status = verdict(session.dtype, relative, kl_nats, cosines, identity)
    return Faithfulness(status, logit_diff, kl_nats, cosines, identity, len(tokens))


def verdict(dtype: str, logit_share: float, kl_nats: float, cosines: Sequence[float], identity: float) -> Status:
    """ok, differs or wrong; NaN is never ok."""
    limits = OK[dtype]
    cosine = min(cosines) if not any(map(math.isnan, cosines)) else math.nan
    if not (kl_nats <= WRONG_KL_NATS and cosine >= WRONG_COSINE):
        return "wrong"
    is_close = logit_share <= limits.logits and kl_nats <= limits.kl_nats and cosine >= limits.cosine
    return "ok" if is_close and identity <= limits.identity else "differs"


def _points(session: ModelSession) -> list[HookPoint]:
    points = [HookPoint(layer, site) for layer in range(session.shape.n_layers) for site in _PARTS]
    return [point for point in points if session.has_site(point)]


def _cosine(a: Float[Tensor, "pos d"], b: Float[Tensor, "pos d"]) -> float:
    return float(torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=-1).mean())


def _kl_nats(plain: Float[Tensor, "pos d_vocab"], own: Float[Tensor, "pos d_vocab"]) -> float:
    """Mean over positions of KL(plain || own); rounding below zero is cut off."""
    expected, found = plain.double().log_softmax(-1), own.double().log_softmax(-1)
    mean = (expected.exp() * (expected - found)).sum(-1).mean()
    return float(mean) if bool(mean.isnan()) else max(0.0, float(mean))


def _identity(captured: Captured, layer: int) -> float:
    """Largest violation of a block's identities, as a share of its output's largest entry; NaN if it lacks a part."""
    parts = [captured.get(HookPoint(layer, site)) for site in _PARTS]
    if any(part is None for part in parts):
        return math.nan
    before, attention, mlp, after = (part for part in parts if part is not None)
    violations = [(before + attention + mlp).double() - after.double()]
    if (previous := captured.get(HookPoint(layer - 1, "resid_post")) if layer else None) is not None:
        violations.append(before.double() - previous.double())
    scale = max(float(after.double().abs().max()), 1e-30)
    return max(float(violation.abs().max()) for violation in violations) / scale


def _null_if_nan(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _nan_if_null(value: float | None) -> float:
    return math.nan if value is None else float(value)
