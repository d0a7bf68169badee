"""Sparse passes: the losses of several ways to change a model, as rows of one batch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from capture.batching import batches
from capture.hook_point import HookPoint
from capture.intervention import Intervention, ReadsWeights
from capture.mask import Weight
from capture.session import ModelSession, ModelShape

Candidate = tuple[Intervention, ...]
Look = Callable[[int, int, Mapping[HookPoint, Tensor]], None]
"""Is shown a candidate, a text, and the activations of that row."""
LOGITS = HookPoint(None, "logits")
MAX_BATCH_TOKENS = 2048
MAX_FLOATS = 1 << 26


@dataclass(frozen=True)
class Passed:
    """What a pass gave: the loss of each text summed over its predicted tokens, and zeros counted by candidate."""

    losses: Float[np.ndarray, "candidates texts"]
    zeros: Int[np.ndarray, "candidates points"]
    entries: Int[np.ndarray, "points"]

    @property
    def zero_share(self) -> Float[np.ndarray, "candidates points"]:
        """The share of entries that are exactly zero at each hook point that was counted."""
        return self.zeros / np.maximum(self.entries, 1)


@dataclass(frozen=True)
class ByRows:
    """Several candidates in one batch: the rows come in equal blocks, one block a candidate."""

    candidates: tuple[Candidate, ...]

    kind = "by_rows"

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where any of them acts."""
        return tuple(dict.fromkeys(at for one in self.candidates for change in one for at in change.hook_points()))

    def with_weights(self, weight: Weight) -> "ByRows":
        """The same for one model."""
        return ByRows(
            tuple(
                tuple(change.with_weights(weight) if isinstance(change, ReadsWeights) else change for change in one)
                for one in self.candidates
            )
        )

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        """Each block of rows as its candidate changes it."""
        blocks = list(activation.chunk(len(self.candidates)))
        for number, candidate in enumerate(self.candidates):
            for change in candidate:
                if at in change.hook_points():
                    blocks[number] = change(blocks[number], at, first_pos)
        return torch.cat(blocks)

    def recipe(self) -> dict[str, Any]:
        """The recipes of all, for an error's words; nothing reads it."""
        return {"kind": self.kind, "candidates": [[change.recipe() for change in one] for one in self.candidates]}


def batch_tokens(shape: ModelShape, points: Sequence[HookPoint]) -> int:
    """How many tokens a batch may have, so that what is read of it fits in 256 MB."""
    width = {"logits": shape.d_vocab, "mlp_post": shape.d_mlp, "mlp_pre": shape.d_mlp}
    width["expert_post"] = shape.d_mlp * (shape.n_experts or 1)
    per_token = sum(width.get(at.site, shape.d_model) for at in points)
    return max(1, min(MAX_BATCH_TOKENS, MAX_FLOATS // per_token))


def run_candidates(
    session: ModelSession,
    texts: Sequence[tuple[int, ...]],
    candidates: Sequence[Candidate],
    points: Sequence[HookPoint],
    base: tuple[Intervention, ...] = (),
    look: Look | None = None,
    progress: Callable[[float, str], None] = lambda share, words: None,
) -> Passed:
    """One pass over the texts with every candidate; `points` are those whose zeros are counted.

    Every batch holds each of its texts once for each candidate. Memory does not grow with the texts.
    """
    losses = np.zeros((len(candidates), len(texts)))
    zeros = np.zeros((len(candidates), len(points)), np.int64)
    entries = np.zeros(len(points), np.int64)
    limit = batch_tokens(session.shape, [LOGITS, *points])
    n_done = 0
    for rows in batches(texts, max(1, limit // len(candidates))):
        for first, some in _blocks(candidates, limit // (len(rows) * max(len(tokens) for _, tokens in rows))):
            changes = (*base, ByRows(tuple(some)))
            repeated = [tokens for _ in some for _, tokens in rows]
            seen = session.capture_batch(repeated, [LOGITS, *points], changes)
            for number, one in enumerate(seen):
                candidate, text = first + number // len(rows), rows[number % len(rows)][0]
                losses[candidate, text] = summed_loss(one[LOGITS], repeated[number])
                for place, at in enumerate(points):
                    zeros[candidate, place] += int((one[at] == 0).sum())
                    entries[place] += one[at].numel() if candidate == 0 else 0
                if look is not None:
                    look(candidate, text, one)
        n_done += len(rows)
        progress(n_done / len(texts), f"{n_done:,} texts run with neurons switched off")
    return Passed(losses, zeros, entries)


def _blocks(candidates: Sequence[Candidate], fits: int) -> Iterator[tuple[int, Sequence[Candidate]]]:
    """The candidates, as many at a time as fit, with the number of the first."""
    step = max(1, min(fits, len(candidates)))
    for first in range(0, len(candidates), step):
        yield first, candidates[first : first + step]


def token_losses(logits: Float[Tensor, "pos d_vocab"], tokens: Sequence[int]) -> Float[Tensor, "predicted"]:
    """Cross-entropy of every token but the first, in nats."""
    targets = torch.tensor(tokens[1:], dtype=torch.long)
    return torch.nn.functional.cross_entropy(logits[:-1].float(), targets, reduction="none")


def summed_loss(logits: Float[Tensor, "pos d_vocab"], tokens: Sequence[int]) -> float:
    """The same, summed."""
    return float(token_losses(logits, tokens).sum())
