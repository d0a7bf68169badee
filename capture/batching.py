"""Texts of unequal length in one tensor: padded on the right, so that every token keeps its position.

Behind a causal mask a token never sees what stands to its right; so no attention mask is needed, positions start at
0 in every row, and interventions see the positions they would see in a run of that row alone. Padding on the left
needs all three set right (TransformerLens: a logit error of 0.23 where the mask is forgotten).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

_POOL = 256


@dataclass(frozen=True)
class Batch:
    """Rows padded to one length, and where their tokens are in the rows laid end to end."""

    ids: Int[Tensor, "batch pos"]
    real: Int[Tensor, "n"] | None
    text_index: Int[Tensor, "n"]
    pos: Int[Tensor, "n"]


def make_batch(rows: Sequence[tuple[int, Sequence[int]]], device: torch.device) -> Batch:
    """One batch of (text index, tokens) rows; `real` is None where no row is padded."""
    longest = max(len(tokens) for _, tokens in rows)
    ids = torch.tensor([[*tokens, *[0] * (longest - len(tokens))] for _, tokens in rows], dtype=torch.long)
    lengths = torch.tensor([len(tokens) for _, tokens in rows])
    is_real = torch.arange(longest) < lengths[:, None]  # [batch pos]
    row, pos = is_real.nonzero(as_tuple=True)
    text_index = torch.tensor([index for index, _ in rows])[row]
    is_padded = len(row) < ids.numel()
    real = (row * longest + pos).to(device) if is_padded else None
    return Batch(ids.to(device), real, text_index, pos)


def batches(texts: Iterable[Sequence[int]], batch_tokens: int) -> Iterator[list[tuple[int, Sequence[int]]]]:
    """Rows of (text index, tokens) for one batch after another, of at most `batch_tokens` with padding.

    Texts are taken 256 at a time and sorted by length, so that little is padded; a longer text is a batch alone.
    """
    pool: list[tuple[int, Sequence[int]]] = []
    for item in enumerate(texts):
        pool.append(item)
        if len(pool) == _POOL:
            yield from _split(pool, batch_tokens)
            pool = []
    yield from _split(pool, batch_tokens)


def _split(pool: list[tuple[int, Sequence[int]]], batch_tokens: int) -> Iterator[list[tuple[int, Sequence[int]]]]:
    rows: list[tuple[int, Sequence[int]]] = []
    for item in sorted(pool, key=lambda item: len(item[1])):
        if rows and len(item[1]) * (len(rows) + 1) > batch_tokens:
            yield rows
            rows = []
        rows.append(item)
    if rows:
        yield rows
