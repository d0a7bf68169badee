"""Explanations of a latent by token patterns, in the way of N2G (Foote et al. 2023, arXiv 2305.19911).

As Gao et al. 2024 (arXiv 2406.04093) and their code have it; every example is run with its tokens changed:

1. Cut the example after the chosen token. Grow what is before it leftwards until half of the activation is there.
2. If a filler in front leaves half of it, the pattern may begin anywhere; else it holds at a text's start alone.
3. A token whose replacement by the filler takes less than half of the activation becomes a wildcard.
4. Patterns go into a trie, last token first. A prediction walks backwards from each token, prefers the very token to
   the wildcard, never turns back, and takes the value of the first pattern that is complete.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

Tokens = tuple[int, ...]
LastActivations = Callable[[Sequence[Tokens]], Float[np.ndarray, "rows"]]
"""The latent's activation at the last token of each row; run in one batch where that is faster."""

KEPT = 0.5
"""Share of the activation that counts as the activation still being there."""
MAX_CONTEXT = 64
"""Tokens of an example that are looked at, as many as the code's own examples have."""


@dataclass(frozen=True)
class Example:
    """A text on which the latent fires at `pos` with `value`."""

    tokens: Tokens
    pos: int
    value: float


@dataclass(frozen=True)
class Pattern:
    """Tokens in a row, None for any one token; `is_at_start` where it holds at a text's start alone."""

    tokens: tuple[int | None, ...]
    value: float
    is_at_start: bool = False


@dataclass
class _Node:
    after: dict[int | None, "_Node"] = field(default_factory=dict)
    value: float | None = None
    value_at_start: float | None = None


class Explanation:
    """Patterns of one latent, and what they predict."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        # Equal patterns of several examples are one, with the largest of their values.
        largest: dict[tuple[tuple[int | None, ...], bool], Pattern] = {}
        for one in patterns:
            known = largest.get((one.tokens, one.is_at_start))
            if known is None or one.value > known.value:
                largest[one.tokens, one.is_at_start] = one
        self.patterns = tuple(sorted(largest.values(), key=lambda one: -one.value))
        self._root = _Node()
        for one in self.patterns:
            self._add(one)

    def _add(self, pattern: Pattern) -> None:
        node = self._root
        for token in reversed(pattern.tokens):
            node = node.after.setdefault(token, _Node())
        if pattern.is_at_start:
            node.value_at_start = pattern.value
        else:
            node.value = pattern.value

    def predict(self, tokens: Sequence[int]) -> Float[np.ndarray, "pos"]:
        """The activation that the patterns predict at each token of a text; 0 where none is complete."""
        return np.array([self._at(tokens, pos) for pos in range(len(tokens))], dtype=np.float64)

    def _at(self, tokens: Sequence[int], pos: int) -> float:
        node = self._root
        for place in range(pos, -1, -1):
            following = node.after.get(tokens[place]) or node.after.get(None)
            if following is None:
                return 0.0
            node = following
            if node.value is not None:
                return node.value
        return node.value_at_start or 0.0


@dataclass
class _Grown:
    """An example on its way to a pattern."""

    tokens: Tokens
    value: float
    own: Tokens = ()
    own_value: float = 0.0


def explain(examples: Sequence[Example], activations: LastActivations, filler: int) -> Explanation:
    """The patterns of a latent by examples of it; `filler` is the token that stands for nothing in particular."""
    grown = [
        _Grown(one.tokens[max(0, one.pos + 1 - MAX_CONTEXT) : one.pos + 1], one.value)
        for one in examples
        if one.value > 0
    ]
    if not grown:
        return Explanation(())
    _grow(grown, activations)
    padded = activations([(filler, *one.own) for one in grown])
    replaced = activations([row for one in grown for row in _each_replaced(one.own, filler)])
    patterns, start = [], 0
    for one, with_filler in zip(grown, padded.tolist(), strict=True):
        saliency = 1 - replaced[start : start + len(one.own)] / one.own_value
        start += len(one.own)
        tokens = tuple(token if share >= KEPT else None for token, share in zip(one.own, saliency, strict=True))
        patterns.append(Pattern(tokens, one.own_value, with_filler < KEPT * one.value))
    return Explanation(patterns)


def _grow(grown: Sequence[_Grown], activations: LastActivations) -> None:
    """Find for each example the shortest ending that keeps the activation; several lengths are tried in one batch."""
    waiting, longest = list(grown), 0
    while waiting:
        # Most endings are short, so that few lengths are tried at first.
        tried_before, longest = longest, max(2, 2 * longest)
        lengths = range(tried_before + 1, longest + 1)
        tried = [(one, one.tokens[-n:]) for one in waiting for n in lengths if n <= len(one.tokens)]
        for (one, tokens), value in zip(tried, activations([row for _, row in tried]).tolist(), strict=True):
            if not one.own and value >= KEPT * one.value:
                one.own, one.own_value = tokens, value
        waiting = [one for one in waiting if not one.own and longest < len(one.tokens)]
    for one in grown:
        if not one.own:
            one.own, one.own_value = one.tokens, one.value


def _each_replaced(tokens: Tokens, filler: int) -> Iterator[Tokens]:
    return ((*tokens[:place], filler, *tokens[place + 1 :]) for place in range(len(tokens)))


@dataclass(frozen=True)
class Agreement:
    """Tokens of held-out text on which an explanation predicts that the latent fires, it does, and both."""

    n_predicted: int
    n_active: int
    n_both: int
    n_tokens: int

    @property
    def precision(self) -> float | None:
        """Share of the predicted tokens on which it fires; None where none was predicted."""
        return self.n_both / self.n_predicted if self.n_predicted else None

    @property
    def recall(self) -> float | None:
        """Share of the tokens on which it fires that were predicted; None where it never fires."""
        return self.n_both / self.n_active if self.n_active else None


def agreement(
    explanation: Explanation, texts: Sequence[Tokens], activations: Sequence[Float[np.ndarray, "_"]]
) -> Agreement:
    """How an explanation does on texts, given the latent's activation at each of their tokens."""
    n_predicted = n_active = n_both = 0
    for tokens, values in zip(texts, activations, strict=True):
        predicted, active = explanation.predict(tokens) > 0, values > 0
        n_predicted, n_active = n_predicted + int(predicted.sum()), n_active + int(active.sum())
        n_both += int((predicted & active).sum())
    return Agreement(n_predicted, n_active, n_both, sum(map(len, texts)))
