"""Ablation sparsity: how few tokens' logits a latent touches, after Gao et al. 2024 (arXiv 2406.04093).

One latent is set to zero at one position, what the SAE leaves unexplained is kept, and the logits of the next T tokens
are compared with the clean ones. The same for single channels of the activation is the control.

The measure is theirs; the exact normalisation is as remembered, not as read: (‖v‖₁ / ‖v‖₂)² / (V T).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from capture.hook_point import HookPoint
from capture.session import ModelSession
from sae.autoencoder import Autoencoder
from sae.evaluation import Row
from sae.normalisation import normalise
from sae.resampling import mean_interval

N_PLACES = 64
T = 16
"""Tokens after the change whose logits are compared."""
MAX_LOGITS = 32_000_000
"""Logits of one batch; 128 MB."""
Progress = Callable[[float, str], None]


def touched_share(v: Float[Tensor, "*n"]) -> float | None:
    """(‖v‖₁ / ‖v‖₂)² / n: 1 for equal entries, 1/n for a single one, 2/π for Gaussian ones; None for zeros alone."""
    flat = v.double().flatten()
    square = float((flat**2).sum())
    return float(flat.abs().sum()) ** 2 / square / len(flat) if square else None


def effect_share(clean: Float[Tensor, "pos d_vocab"], changed: Float[Tensor, "pos d_vocab"]) -> float | None:
    """`touched_share` of the logits' differences, each position's median over the vocabulary taken off."""
    difference = (changed - clean).double()
    return touched_share(difference - _middle(difference))


def _middle(rows: Float[Tensor, "pos d_vocab"]) -> Float[Tensor, "pos 1"]:
    # torch.median is the lower of two middle entries.
    return rows.quantile(0.5, dim=1, keepdim=True)


@dataclass(frozen=True)
class AddToRows:
    """x + change at one position of each row of a batch, [batch d] at [batch]."""

    at: HookPoint
    change: Float[Tensor, "batch d"]
    pos: Int64[Tensor, "batch"]

    kind = "add_to_rows"

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where it acts."""
        return (self.at,)

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        """The activation with each row's change at its position."""
        changed, places = activation.clone(), self.pos - first_pos
        rows = ((places >= 0) & (places < activation.shape[1])).nonzero(as_tuple=True)[0]
        changed[rows, places[rows]] += self.change[rows].to(changed)
        return changed

    def recipe(self) -> dict[str, Any]:
        """Plain JSON with the changes themselves."""
        return {"kind": self.kind, "at": str(self.at), "change": self.change.tolist(), "pos": self.pos.tolist()}


def contribution(
    sae: Autoencoder, x: Float[Tensor, "rows d_in"], latents: Int64[Tensor, "rows"], values: Float[Tensor, "rows"]
) -> Float[Tensor, "rows d_in"]:
    """What one latent of each row adds to its reconstruction, in the activation's own scale."""
    _, scaling = normalise(x.float(), sae.facts.normalisation, sae.facts.norm_constant)
    added = values[:, None] * sae.W_dec[latents]
    return added if scaling is None else added * scaling.size


def ablation_rows(
    sae: Autoencoder,
    session: ModelSession,
    texts: Sequence[tuple[int, ...]],
    at: HookPoint,
    from_pos: int = 1,
    n_places: int = N_PLACES,
    seed: int = 0,
    progress: Progress = lambda share, words: None,
) -> tuple[Row, ...]:
    """The mean share over places drawn at random, of a latent that fires there and of a channel.

    A place is a position of a text with T more tokens, BOS not counted. The values are None where no text has one.
    """
    draw = np.random.default_rng(seed)
    places = [(text, pos) for text, tokens in enumerate(texts) for pos in range(from_pos, len(tokens) - T + 1)]
    drawn = sorted(places[n] for n in draw.permutation(len(places))[:n_places])
    shares: dict[str, list[float | None]] = {"ablation_sparsity": [], "ablation_sparsity_channels": []}
    whose = [[pos for text, pos in drawn if text == one] for one in range(len(texts))]
    for n, (tokens, positions) in enumerate(zip(texts, whose, strict=True)):
        if positions:
            progress(n / len(texts), f"zeroing latents in text {n + 1:,} of {len(texts):,}")
            of_text = _shares_of_text(sae, session, tokens[: positions[-1] + T], at, positions, draw)
            for name, found in zip(shares, of_text, strict=True):
                shares[name] += found
    return tuple(_row(name, found) for name, found in shares.items())


def _shares_of_text(
    sae: Autoencoder,
    session: ModelSession,
    tokens: tuple[int, ...],
    at: HookPoint,
    positions: Sequence[int],
    draw: np.random.Generator,
) -> tuple[list[float | None], list[float | None]]:
    pos = torch.tensor(positions)
    x = session.capture(tokens, (at,))[at][pos].float()
    with torch.no_grad():
        codes = sae.encode(x)
    fires = codes.values > 0
    chosen = torch.tensor([int(draw.integers(max(1, int(n)))) for n in fires.sum(dim=1)])
    # Codes are sorted, so those that fire come first.
    latents, values = (part.gather(1, chosen[:, None])[:, 0] for part in (codes.indices, codes.values))
    channels = torch.from_numpy(draw.integers(x.shape[1], size=len(x)))
    of_channel = torch.zeros_like(x).scatter(1, channels[:, None], -x.gather(1, channels[:, None]))
    of_latent = -contribution(sae, x, latents, values)
    does_fire = fires.any(dim=1)
    clean = session.logits(tokens)
    by_latent = _shares(session, tokens, clean, AddToRows(at, of_latent[does_fire], pos[does_fire]))
    return by_latent, _shares(session, tokens, clean, AddToRows(at, of_channel, pos))


def _shares(session: ModelSession, tokens: tuple[int, ...], clean: Tensor, change: AddToRows) -> list[float | None]:
    width = max(1, MAX_LOGITS // clean.numel())
    logits, shares = HookPoint(None, "logits"), []
    for start in range(0, len(change.pos), width):
        part = AddToRows(change.at, change.change[start : start + width], change.pos[start : start + width])
        changed = session.capture_batch([tokens] * len(part.pos), (logits,), (part,))
        for found, pos in zip(changed, part.pos.tolist(), strict=True):
            shares.append(effect_share(clean[pos : pos + T], found[logits][pos : pos + T].float()))
    return shares


def _row(name: str, found: Sequence[float | None]) -> Row:
    values = np.array([value for value in found if value is not None])
    mean = float(values.mean()) if len(values) else None
    formula = f"{FORMULAS[name]}; {len(values):,} places"
    return Row(name, mean, *mean_interval([values]), "", formula, "places")


_MEASURE = f"mean of (‖v‖₁/‖v‖₂)²/(V·{T}), v the next {T} tokens' logits less the clean ones and their median, with"
FORMULAS = {
    "ablation_sparsity": f"{_MEASURE} a latent at 0; after Gao et al.",
    "ablation_sparsity_channels": f"{_MEASURE} a channel of the activation at 0",
}
"""Formula of each row."""
