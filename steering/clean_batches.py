"""Texts in batches, with what the frozen model has at a hook point: for fits that go through the model.

Where nothing else is changed before that hook point, its activations do not depend on what is added there, so that they
are captured once and what is added may be computed from them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession
from steering.fit_rows import FitText


@dataclass(frozen=True)
class CleanBatch:
    """Texts, their clean activations, and which positions count: real ones, without BOS."""

    texts: tuple[FitText, ...]
    h: Float[Tensor, "batch pos d"]
    counts: Bool[Tensor, "batch pos"]

    @classmethod
    def of(cls, session: ModelSession, texts: Sequence[FitText], at: HookPoint, bos: bool) -> "CleanBatch":
        """The texts as one batch, padded on the right."""
        rows = [one[at].float() for one in session.capture_batch([text.tokens for text in texts], (at,))]
        flags = [torch.arange(len(row)) >= int(bos) for row in rows]
        return cls(tuple(texts), pad_sequence(rows, batch_first=True), pad_sequence(flags, batch_first=True))

    @property
    def rows(self) -> list[tuple[int, ...]]:
        """The tokens of each text."""
        return [text.tokens for text in self.texts]

    def latents(self, v: Float[Tensor, "d"]) -> Float[Tensor, "batch pos"]:
        """ReLU(h · v)."""
        return (self.h @ v).relu()


def shuffled(n: int, n_batch: int, n_epochs: int, draw: torch.Generator) -> Iterator[list[int]]:
    """Places of n things in batches, in another order in each epoch."""
    for _ in range(n_epochs):
        order = torch.randperm(n, generator=draw).tolist()
        yield from (order[start : start + n_batch] for start in range(0, n, n_batch))


def text_logprobs(logits: Float[Tensor, "batch pos d_vocab"], texts: Sequence[FitText]) -> list[Float[Tensor, "_"]]:
    """Log-probability of each token of the part of each text that its label speaks of."""
    found = []
    for row, text in zip(logits, texts, strict=True):
        start = max(1, text.start)
        wanted = torch.tensor(text.tokens[start:], device=logits.device)[:, None]
        odds = row[start - 1 : len(text.tokens) - 1].log_softmax(dim=-1)
        found.append(odds.gather(1, wanted)[:, 0])
    return found


def text_loss(logits: Float[Tensor, "batch pos d_vocab"], texts: Sequence[FitText]) -> Float[Tensor, ""]:
    """Mean cross-entropy, nats per token, of the parts of the texts that their labels speak of."""
    return -torch.cat(text_logprobs(logits, texts)).mean()


def check_loss(loss: float, step: int) -> None:
    """Raises UserError where the loss of a step is not a number."""
    if not math.isfinite(loss):
        raise UserError(f"The loss must stay a number; at step {step:,} it is {loss}.", "Lower the learning rate.")
