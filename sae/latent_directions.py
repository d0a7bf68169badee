"""What a latent's decoder direction says by itself: the tokens it promotes and suppresses, and its nearest latents.

Logit weights: a row of W_dec, less its own mean where the model's final norm is a LayerNorm, times the gain of the
final norm, times W_U, less the mean over the vocabulary (which changes no probability). That is the direct path: what
later blocks make of it, and the norm's division by the length of the whole residual stream, are left out.
Neighbours: the largest cosines between rows of W_dec. A few hundred latents are worked out at a time, so that neither
[d_sae d_vocab] nor [d_sae d_sae] is ever there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession
from sae.autoencoder import Autoencoder

N_TOKENS, N_NEIGHBOURS, N_LOGIT_BINS = 10, 10, 50
BLOCK_BYTES = 8_000_000
"""Room for one block's products: more was no faster."""
WRITES_RESIDUAL = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
DIRECTION = np.dtype(
    [
        ("is_known", "?"),
        *((name, "<i4", (N_TOKENS,)) for name in ("promoted", "suppressed")),
        *((name, "<f4", (N_TOKENS,)) for name in ("promoted_weight", "suppressed_weight")),
        ("neighbour", "<i4", (N_NEIGHBOURS,)),
        ("cosine", "<f4", (N_NEIGHBOURS,)),
        ("logit_counts", "<i4", (N_LOGIT_BINS,)),
        ("logit_low", "<f4"),
        ("logit_high", "<f4"),
    ]
)
"""One latent's record; tokens and neighbours that there are not have the number -1."""
RULE = (
    "W_dec row{centred} × gain of the final norm × W_U, less its mean over the vocabulary, per unit of the latent's "
    "value: the direct path to the logits, without later blocks and without the norm's division."
)


@dataclass(frozen=True)
class LogitPath:
    """What turns decoder rows into logit weights; `readout` is None where a direction has no direct path."""

    readout: Float[Tensor, "d_out d_vocab"] | None
    rule: str


def logit_path(session: ModelSession, sae: Autoencoder) -> LogitPath:
    """The direct path from an SAE's decoder rows to the logits; `readout` has the vocabulary's mean taken out."""
    site = HookPoint.parse(sae.facts.hook_point_out or sae.facts.hook_point).site
    if site not in WRITES_RESIDUAL:
        return LogitPath(None, f"None: {site} is not written to the residual stream, so there is no direct path.")
    try:
        gain, unembedding = session.weight("ln_final", 0).float().cpu(), session.weight("W_U", 0).float().cpu()
    except UserError as error:
        return LogitPath(None, f"None: {error.message}")
    if sae.W_dec.shape[1] != len(gain):
        return LogitPath(None, "None: the decoder's rows are not as long as the residual stream.")
    readout = gain[:, None] * unembedding
    readout = readout - readout.mean(dim=1, keepdim=True)
    centres = session.shape.final_norm_centres
    if centres:
        readout = readout - readout.mean(dim=0, keepdim=True)
    return LogitPath(readout, RULE.format(centred=" less its mean" if centres else ""))


def unknown_directions(d_sae: int) -> Shaped[np.ndarray, "d_sae"]:
    """Records of latents that were not worked out yet."""
    records = np.zeros(d_sae, DIRECTION)
    for name in ("promoted", "suppressed", "neighbour"):
        records[name] = -1
    return records


def directions(sae: Autoencoder, path: LogitPath) -> Iterator[tuple[slice, Any]]:
    """The records of all latents, some at a time: which, and their array of DIRECTION."""
    W_dec = sae.W_dec.detach().float().cpu()
    unit = torch.nn.functional.normalize(W_dec, dim=1)
    width = max(len(W_dec), 0 if path.readout is None else path.readout.shape[1])
    rows = max(1, BLOCK_BYTES // (4 * width))
    for start in range(0, len(W_dec), rows):
        part = slice(start, min(start + rows, len(W_dec)))
        records = unknown_directions(part.stop - start)
        records["is_known"] = True
        _fill_neighbours(records, unit, part)
        if path.readout is not None:
            _fill_logits(records, W_dec[part] @ path.readout)
        yield part, records


def _fill_neighbours(records: Any, unit: Float[Tensor, "d_sae d_out"], part: slice) -> None:
    cosines = unit[part] @ unit.t()
    own = torch.arange(part.stop - part.start)
    cosines[own, own + part.start] = -torch.inf
    n = min(N_NEIGHBOURS, len(unit) - 1)
    if n:
        nearest = cosines.topk(n, dim=1)
        records["neighbour"][:, :n], records["cosine"][:, :n] = nearest.indices.numpy(), nearest.values.numpy()


def _fill_logits(records: Any, weights: Float[Tensor, "latents d_vocab"]) -> None:
    n = min(N_TOKENS, weights.shape[1])
    for name, largest in (("promoted", True), ("suppressed", False)):
        found = weights.topk(n, dim=1, largest=largest)
        records[name][:, :n], records[f"{name}_weight"][:, :n] = found.indices.numpy(), found.values.numpy()
    low, high = weights.aminmax(dim=1)
    step = ((high - low) / N_LOGIT_BINS).clamp(min=torch.finfo(torch.float32).tiny)
    place = ((weights - low[:, None]) / step[:, None]).long().clamp_(0, N_LOGIT_BINS - 1)
    counts = torch.zeros(len(weights), N_LOGIT_BINS, dtype=torch.int64)
    counts.scatter_add_(1, place, torch.ones_like(place))
    records["logit_counts"], records["logit_low"], records["logit_high"] = counts.numpy(), low.numpy(), high.numpy()
