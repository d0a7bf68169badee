"""Concept texts as rows of tokens: the prompt, then the continuation that is learnt or judged."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from capture.errors import UserError
from capture.session import ModelSession
from steering.concepts import Concept, Example


@dataclass(frozen=True)
class Row:
    """Tokens of prompt and continuation; the first `n_prompt` are the prompt's."""

    tokens: tuple[int, ...]
    n_prompt: int

    @property
    def prompt(self) -> tuple[int, ...]:
        """The tokens before the continuation."""
        return self.tokens[: self.n_prompt]


def row_of(session: ModelSession, example: Example, longest: int, bos: bool) -> Row | None:
    """The row, cut to `longest` tokens; None where no token of the continuation is left or nothing is before it."""
    prompt = words(session, example.prompt, bos)
    text = words(session, example.text, False)
    kept = (*prompt, *text)[:longest]
    return Row(kept, len(prompt)) if 0 < len(prompt) < len(kept) else None


def words(session: ModelSession, text: str, bos: bool) -> tuple[int, ...]:
    """Token ids of a text, which may be empty and of any length."""
    lead = session.tokens("a", True)[:1] if bos else ()
    windows = session.windows(text, session.shape.context, False)
    return (*lead, *(token for window in windows for token in window))


def sentence_tokens(session: ModelSession, sentence: str, bos: bool) -> tuple[int, ...]:
    """Token ids of a steering sentence, with a space before it: a word is the token that it is within a text."""
    return words(session, f" {sentence.strip()}", bos)


@dataclass(frozen=True)
class ConceptRows:
    """One concept as it is learnt from: its sentences, and its rows with and without it."""

    name: str
    sentences: tuple[tuple[int, ...], ...]
    positives: tuple[Row, ...]
    negatives: tuple[Row, ...]


def rows_of_concept(session: ModelSession, concept: Concept, longest: int, bos: bool) -> ConceptRows:
    """The concept's examples as rows; raises UserError where none is left."""
    positives, negatives = (
        tuple(row for one in some if (row := row_of(session, one, longest, bos)) is not None)
        for some in (concept.positives, concept.negatives)
    )
    if not positives:
        raise UserError(
            f"No text of {concept.name!r} has a continuation within {longest:,} tokens.",
            "Raise longest, or leave it out.",
        )
    sentences = tuple(sentence_tokens(session, one, bos) for one in concept.asked)
    return ConceptRows(concept.name, sentences, positives, negatives)


def continuation_mask(rows: Sequence[Row]) -> Bool[Tensor, "batch pos"]:
    """Which next-token predictions of a batch, padded on the right, are of a continuation's tokens."""
    longest = max(len(row.tokens) for row in rows)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for index, row in enumerate(rows):
        mask[index, row.n_prompt - 1 : len(row.tokens) - 1] = True
    return mask


def continuation_losses(logits: Float[Tensor, "batch pos d_vocab"], rows: Sequence[Row]) -> Float[Tensor, "batch"]:
    """Mean cross-entropy of each row's continuation, in nats per token."""
    mask = continuation_mask(rows)
    targets = torch.cat([torch.tensor(row.tokens[row.n_prompt :]) for row in rows]).to(logits.device)
    losses = torch.nn.functional.cross_entropy(logits[mask.to(logits.device)], targets, reduction="none")
    counts = mask.sum(dim=1)
    return torch.stack([part.mean() for part in losses.split(counts.tolist())])
