"""Which word of a sentence is like none that a hypernetwork learnt, by the embeddings of the model that it steers.

1. The tokens of the learnt concepts' sentences are known. 2. A token is as familiar as the largest cosine of its
embedding with a known token's, less the mean embedding; a known one is 1, and a word is as its least familiar token.
3. A word is strange below a limit: one concept in ten would have such a word, had its own sentences not been learnt.

The distance of what the head reads does not do for this: the head is only shaped where there were sentences, and calls
`asdf qwer` a neighbour.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from capture.session import ModelSession
from steering.concept_rows import sentence_tokens

WORDS = "words"
"""Under which the facts of a hypernetwork have them."""
STRANGE_SHARE = 0.1


@dataclass(frozen=True)
class KnownWords:
    """The tokens of all learnt sentences, and below which familiarity a word is strange to them."""

    tokens: tuple[int, ...]
    limit: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON for the facts of a hypernetwork."""
        return {"tokens": list(self.tokens), "limit": self.limit}


@dataclass(frozen=True)
class StrangeWord:
    """A word of a sentence, and how familiar it is: a cosine below the limit."""

    word: str
    familiarity: float
    limit: float

    @property
    def warning(self) -> str:
        """What it means, in a sentence."""
        return (
            f"Nothing like {self.word[:40]!r} was in the sentences that were learnt (largest cosine "
            f"{self.familiarity:.2f}; {self.limit:.2f} is the limit): expect little of this vector."
        )


def known_words(session: ModelSession, asked: Sequence[Sequence[str]]) -> KnownWords:
    """The words of learnt concepts, each concept given as its ways to ask for it, the usual one first."""
    own = [{token for sentence in some for token in sentence_tokens(session, sentence, False)} for some in asked]
    concepts_with = Counter(token for tokens in own for token in tokens)
    embeddings = _Embeddings.of(session)
    alone = []
    for some, tokens in zip(asked, own, strict=True):
        others = [token for token, n in concepts_with.items() if n > (token in tokens)]
        if others:
            alone.append(min(embeddings.familiarity(sentence_tokens(session, some[0], False), others)))
    limit = float(torch.tensor(alone).quantile(STRANGE_SHARE)) if alone else -1.0
    return KnownWords(tuple(sorted(concepts_with)), limit)


def read_words(facts: Mapping[str, Any], d_vocab: int) -> KnownWords | None:
    """The words in the facts of a hypernetwork; None where it came without, or with what cannot be read."""
    try:
        tokens, limit = tuple(facts[WORDS]["tokens"]), float(facts[WORDS]["limit"])
    except (KeyError, TypeError, ValueError):
        return None
    is_read = all(type(token) is int and 0 <= token < d_vocab for token in tokens)
    return KnownWords(tokens, limit) if tokens and is_read else None


def strangest_word(session: ModelSession, facts: Mapping[str, Any], sentence: str) -> StrangeWord | None:
    """The least familiar word of a sentence where it is strange to the hypernetwork with these facts, else None."""
    embeddings = _Embeddings.of(session)
    known = read_words(facts, len(embeddings.weight))
    if known is None or not sentence.split():
        return None
    words = [(min(embeddings.familiarity(_tokens(session, word), known.tokens)), word) for word in sentence.split()]
    familiarity, word = min(words)
    return StrangeWord(word, familiarity, known.limit) if familiarity < known.limit else None


def _tokens(session: ModelSession, word: str) -> tuple[int, ...]:
    return sentence_tokens(session, word, False)


@dataclass(frozen=True, eq=False)
class _Embeddings:
    """Token embeddings, of which only the rows that are asked for are copied: a vocabulary may be of gigabytes."""

    weight: Float[Tensor, "d_vocab d"]
    mean: Float[Tensor, "d"]

    @classmethod
    def of(cls, session: ModelSession) -> "_Embeddings":
        """Those of a model."""
        weight = session.weight("W_E", 0)
        return cls(weight, weight.mean(dim=0, dtype=torch.float32))

    def directions(self, tokens: Iterable[int]) -> Float[Tensor, "n d"]:
        """Of each token the direction of its embedding from the mean one."""
        return normalize(self.weight[list(tokens)].float() - self.mean, dim=1)

    def familiarity(self, tokens: Iterable[int], known: Sequence[int]) -> list[float]:
        """Of each token the largest cosine with a known one."""
        return (self.directions(tokens) @ self.directions(known).t()).max(dim=1).values.tolist()
