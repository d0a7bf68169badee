"""One steered text and what the model makes of it: token by token, under the recipe and without it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.generation import GenerationRow
from capture.session import ModelSession

N_TOP = 5
N_GRAM = 4


@dataclass(frozen=True)
class SteeredText:
    """The new tokens of one pane. The arrays have a place for each: the prediction that it was drawn from.

    `kl` is KL(clean ‖ steered) over the vocabulary in nats, along this very text; `logprob` and `logprob_clean` are the
    token's own log-probability in nats; `top` and `top_clean` the N_TOP likeliest tokens, `top_logprob` and
    `top_clean_logprob` theirs, [step rank].
    """

    tokens: tuple[int, ...]
    kl: Float[np.ndarray, "step"]
    logprob: Float[np.ndarray, "step"]
    logprob_clean: Float[np.ndarray, "step"]
    top: np.ndarray
    top_logprob: Float[np.ndarray, "step rank"]
    top_clean: np.ndarray
    top_clean_logprob: Float[np.ndarray, "step rank"]

    @property
    def mean_kl(self) -> float:
        """Mean over its tokens, nats a token."""
        return float(self.kl.mean())

    @property
    def mean_loglik(self) -> float:
        """Mean log-probability of its tokens under the clean model, nats a token."""
        return float(self.logprob_clean.mean())

    @property
    def repeated(self) -> float:
        """Share of its 4-grams that were there before: loops are likely, and are not fluent."""
        grams = [self.tokens[start : start + N_GRAM] for start in range(len(self.tokens) - N_GRAM + 1)]
        return 1 - len(set(grams)) / len(grams) if grams else 0.0


def scored(
    session: ModelSession, rows: Sequence[GenerationRow], written: Sequence[tuple[int, ...]]
) -> Iterator[SteeredText]:
    """Each row's text scored under its own changes and under none; a row without changes needs one run."""
    sides = [(GenerationRow(row.prompt), *((row,) if row.interventions else ())) for row in rows]
    texts = [new for pair, new in zip(sides, written, strict=True) for _ in pair]
    logprobs = session.row_logprobs([row for pair in sides for row in pair], texts)
    for pair, new in zip(sides, written, strict=True):
        found = [next(logprobs) for _ in pair]
        yield _scored(new, found[0], found[-1])


def departs(clean: Sequence[object], steered: Sequence[object]) -> int | None:
    """The first place at which a text is not the clean one's, be it by its end; None where they are the same."""
    n_same = next((n for n, (a, b) in enumerate(zip(clean, steered, strict=False)) if a != b), None)
    if n_same is not None:
        return n_same
    return None if len(clean) == len(steered) else min(len(clean), len(steered))


def _scored(
    new: tuple[int, ...], clean: Float[Tensor, "step d_vocab"], steered: Float[Tensor, "step d_vocab"]
) -> SteeredText:
    if not (torch.isfinite(clean).all() and torch.isfinite(steered).all()):
        raise UserError(
            "Under this recipe the model's log-probabilities are no longer finite.", "Choose a smaller strength."
        )
    own = torch.tensor(new)[:, None]
    n_top = min(N_TOP, clean.shape[1])
    top, top_clean = steered.topk(n_top), clean.topk(n_top)
    return SteeredText(
        tokens=new,
        # A rounding error may leave a tiny negative sum.
        kl=_array((clean.exp() * (clean - steered)).sum(dim=1).clamp(min=0)),
        logprob=_array(steered.gather(1, own)[:, 0]),
        logprob_clean=_array(clean.gather(1, own)[:, 0]),
        top=top.indices.numpy(),
        top_logprob=_array(top.values),
        top_clean=top_clean.indices.numpy(),
        top_clean_logprob=_array(top_clean.values),
    )


def _array(tensor: Tensor) -> Any:
    return tensor.numpy().astype(np.float32)
