"""What an evaluation sums over each text, and how it is kept, so that one that was stopped goes on from there."""

import io
import pickle
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

REVISION = 1
"""Raised when a sum changes its meaning, so that no older state is gone on from."""
SAVE_EVERY_S = 5.0


@dataclass
class TextSums:
    """Sums over one text's rows, from which every ratio over any choice of texts follows, and figures by token."""

    n: int
    error: float
    square: float
    total: Float[Tensor, "d"]
    guess_square: float
    dot: float
    cosine: float
    n_active: float
    n_predicted: int
    losses: dict[str, float]
    kls: dict[str, float]
    token_errors: Float[Tensor, "n"]
    token_delta_ce: Float[Tensor, "n_predicted"]


@runtime_checkable
class Checkpoint(Protocol):
    """A place for the state of an evaluation that was interrupted."""

    def load(self) -> bytes | None: ...
    def save(self, state: bytes) -> None: ...


class KeptSums:
    """The sums of the texts that were done, kept every few seconds; `of` says what they are sums of."""

    def __init__(self, checkpoint: Checkpoint | None, of: dict[str, Any]) -> None:
        self._checkpoint, self._of = checkpoint, {"revision": REVISION, **of}
        self._due = time.monotonic() + SAVE_EVERY_S

    def load(self, d_sae: int) -> tuple[list[TextSums], Float[Tensor, "d_sae"]]:
        """The sums so far, and how often each latent fired; none and zeros where there is no such state."""
        state = _read(self._checkpoint.load() if self._checkpoint else None)
        if state is None or state.get("of") != self._of:
            return [], torch.zeros(d_sae)
        return [TextSums(**one) for one in state["sums"]], state["fired"]

    def save(self, sums: Sequence[TextSums], fired: Float[Tensor, "d_sae"]) -> None:
        """Keep them, if it is time to."""
        if self._checkpoint is None or time.monotonic() < self._due:
            return
        buffer = io.BytesIO()
        torch.save({"of": self._of, "sums": [asdict(one) for one in sums], "fired": fired}, buffer)
        self._checkpoint.save(buffer.getvalue())
        self._due = time.monotonic() + SAVE_EVERY_S


def _read(data: bytes | None) -> dict[str, Any] | None:
    if data is None:
        return None
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, LookupError):
        return None
    return state
