"""What the latents lens gathers from rows of activations as they pass by, for one text and for a set alike.

1. Encode and reconstruct the rows. 2. Add to each latent's counts. 3. Add to the sums that FVU is made of.
Nothing of size [tokens d_sae] is made: counts are [d_sae], codes are [rows slot].
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from analysis.stream_state import State
from capture.errors import UserError
from capture.hook_point import HookPoint
from sae.autoencoder import Autoencoder

NO_TOKEN = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Coded:
    """The codes of rows, and for each row ‖x − x̂‖² and ‖x‖² of what the SAE reconstructs."""

    values: Float32[np.ndarray, "rows slot"]
    indices: Int[np.ndarray, "rows slot"]
    error: Float[np.ndarray, "rows"]
    square: Float[np.ndarray, "rows"]


@torch.no_grad()
def code_rows(sae: Autoencoder, read: Float[Tensor, "rows d_in"], target: Float[Tensor, "rows d_out"]) -> Coded:
    """The codes of the rows that the SAE reads, and how well they give the target (the same rows, but a transcoder's).

    Raises UserError where the widths are not the SAE's, or an activation is no finite number.
    """
    if (read.shape[1], target.shape[1]) != (sae.facts.d_in, sae.b_dec.numel()):
        raise UserError(
            f"This SAE reads activations of {sae.facts.d_in:,} numbers, and this model's have {read.shape[1]:,}.",
            f"It was made for another model ({sae.facts.provenance.get('model') or 'which one is not said'}).",
        )
    wanted = target.double()
    if not (torch.isfinite(read).all() and torch.isfinite(wanted).all()):
        raise UserError(
            f"Every activation must be a finite number; {sae.facts.hook_point} has infinite ones or NaN.",
            "Choose float32, or a model whose weights are sound.",
        )
    guess, codes = sae.reconstruct(read)
    error = ((wanted - guess.double()) ** 2).sum(dim=1)
    return Coded(codes.values.numpy(), codes.indices.numpy(), error.numpy(), (wanted**2).sum(dim=1).numpy())


@dataclass
class Counts:
    """Of each latent: tokens it fired on, sum and maximum of its values and where that was, and the ids of the tokens.

    `least_token` and `most_token` are equal where it fired on one kind of token only. `n`, `error`, `square` and `sums`
    are those of all rows: how many, Σ‖x − x̂‖², Σ‖x‖² and Σx.
    """

    fired: Int[np.ndarray, "d_sae"]
    total: Float[np.ndarray, "d_sae"]
    highest: Float32[np.ndarray, "d_sae"]
    highest_text: Int[np.ndarray, "d_sae"]
    highest_pos: Int[np.ndarray, "d_sae"]
    least_token: Int[np.ndarray, "d_sae"]
    most_token: Int[np.ndarray, "d_sae"]
    sums: Float[np.ndarray, "d_out"]
    n: int = 0
    error: float = 0.0
    square: float = 0.0

    @classmethod
    def empty(cls, d_sae: int, d_out: int) -> "Counts":
        """The counts of no row."""
        whole = np.zeros(d_sae, np.int64)
        return cls(
            fired=whole.copy(),
            total=np.zeros(d_sae),
            highest=np.zeros(d_sae, np.float32),
            highest_text=whole.copy(),
            highest_pos=whole.copy(),
            least_token=np.full(d_sae, NO_TOKEN),
            most_token=np.full(d_sae, -1, np.int64),
            sums=np.zeros(d_out),
        )

    def add(
        self,
        coded: Coded,
        target: Float[np.ndarray, "rows d_out"],
        text: Int[np.ndarray, "rows"],
        pos: Int[np.ndarray, "rows"],
        token: Int[np.ndarray, "rows"],
    ) -> None:
        """Take in rows, with the text, the position and the token of each."""
        self.n += len(coded.error)
        self.error += float(coded.error.sum())
        self.square += float(coded.square.sum())
        self.sums += target.sum(axis=0)
        row, slot = np.nonzero(coded.values > 0)
        latent, value = coded.indices[row, slot].astype(np.int64), coded.values[row, slot]
        self.fired += np.bincount(latent, minlength=len(self.fired))
        self.total += np.bincount(latent, weights=value, minlength=len(self.total))
        np.minimum.at(self.least_token, latent, token[row])
        np.maximum.at(self.most_token, latent, token[row])
        self._raise(latent, value, text[row], pos[row])

    def _raise(
        self,
        latent: Int[np.ndarray, "n"],
        value: Float32[np.ndarray, "n"],
        text: Int[np.ndarray, "n"],
        pos: Int[np.ndarray, "n"],
    ) -> None:
        """Note each latent's largest value; of equal ones the first by text and position, in any order."""
        order = np.lexsort((pos, text, -value, latent))
        kept = order[np.unique(latent[order], return_index=True)[1]]
        mine, its = latent[kept], value[kept]
        was = self.highest[mine]
        is_first = (text[kept] < self.highest_text[mine]) | (
            (text[kept] == self.highest_text[mine]) & (pos[kept] < self.highest_pos[mine])
        )
        better = (its > was) | ((its == was) & is_first)
        for name, news in (("highest", its), ("highest_text", text[kept]), ("highest_pos", pos[kept])):
            getattr(self, name)[mine[better]] = news[better]

    @property
    def fvu(self) -> float | None:
        """Σ‖x − x̂‖² / Σ‖x − x̄‖² over all rows, x̄ their mean; None where they do not vary."""
        spread = self.square - float((self.sums**2).sum()) / self.n if self.n else 0.0
        # One row, or rows that are all alike, leave rounding alone.
        return self.error / spread if spread > 1e-9 * self.square else None


@dataclass
class LatentGather:
    """Takes in what `ModelSession.stream` passes on; a transcoder's two hook points are paired batch by batch."""

    sae: Autoencoder
    points: tuple[HookPoint, ...]
    texts: Sequence[tuple[int, ...]]
    from_pos: int
    counts: Counts = field(init=False)
    last: Coded | None = None
    """The codes of the latest rows."""
    _waiting: Tensor | None = None

    def __post_init__(self) -> None:
        self.counts = Counts.empty(self.sae.facts.d_sae, self.sae.b_dec.numel())

    def update(self, at: HookPoint, values: Tensor, text_index: Tensor, pos: Tensor) -> None:
        """Take in the rows of one hook point from `from_pos` on."""
        rows = values[(pos >= self.from_pos).to(values.device)].float().cpu()
        if at == self.points[0] and len(self.points) == 2:
            self._waiting = rows
            return
        read = rows if self._waiting is None else self._waiting
        is_counted = (pos >= self.from_pos).cpu()
        text, place = text_index.cpu()[is_counted].numpy(), pos.cpu()[is_counted].numpy()
        token = np.array([self.texts[t][p] for t, p in zip(text, place, strict=True)], np.int64)
        self.last = code_rows(self.sae, read, rows)
        self.counts.add(self.last, rows.double().numpy(), text.astype(np.int64), place.astype(np.int64), token)

    def state(self) -> State:
        """All that was taken in."""
        return {one.name: np.asarray(getattr(self.counts, one.name)) for one in fields(Counts)}

    def go_on_from(self, state: State) -> None:
        """Take in what `state` gave."""
        known: dict[str, Any] = {one.name: state[one.name] for one in fields(Counts)}
        self.counts = Counts(**{name: one if one.ndim else one.item() for name, one in known.items()})
