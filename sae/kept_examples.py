"""KeptExamples: for every latent the few places that come first by a key, each context once.

A place comes before another by its key, then by its text and position, so which ones are kept does not hang on the
order in which they came. Of places in the same context (the same last tokens) only the first one counts.
"""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float32, Int, Shaped

BEFORE, AFTER = 24, 8
"""Tokens of the text that are kept before and after an example's own."""
WINDOW = BEFORE + 1 + AFTER


@dataclass(frozen=True)
class Places:
    """Places in texts where latents fire, one a row; `key` says which come first (the lowest).

    `window` has the latent's values from BEFORE tokens before to AFTER tokens after; 0 where the text has no token.
    """

    latent: Int[np.ndarray, "n"]
    key: Int[np.ndarray, "n"]
    text: Int[np.ndarray, "n"]
    pos: Int[np.ndarray, "n"]
    value: Float32[np.ndarray, "n"]
    context: Int[np.ndarray, "n"]
    window: Float32[np.ndarray, "n window"]

    def __len__(self) -> int:
        return len(self.latent)

    def pick(self, some: Shaped[np.ndarray, "some"]) -> "Places":
        """Some of the rows, by number or by mask."""
        return Places(*(getattr(self, one.name)[some] for one in fields(self)))


def no_places() -> Places:
    """No row at all."""
    whole = np.zeros(0, np.int64)
    return Places(whole, whole, whole, whole, np.zeros(0, np.float32), whole, np.zeros((0, WINDOW), np.float32))


def joined(parts: list[Places]) -> Places:
    """The rows of all parts."""
    return Places(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Places)))


class KeptExamples:
    """At most `limit` places of each latent; what was added waits until there is much of it."""

    def __init__(self, d_sae: int, limit: int) -> None:
        self.d_sae, self.limit = d_sae, limit
        self.worst_key = np.full(d_sae, np.iinfo(np.int64).max)
        """The key that a place of each latent must not exceed to be of interest."""
        self._kept = no_places()
        self._waiting: list[Places] = []
        self._n_waiting = 0

    def add(self, places: Places) -> None:
        """Consider some places."""
        if len(places):
            self._waiting.append(places)
            self._n_waiting += len(places)
        if self._n_waiting >= max(2 * self.d_sae, len(self._kept) // 2):
            self._merge()

    def places(self) -> Places:
        """What is kept, by latent and then by what comes first."""
        self._merge()
        return self._kept

    def go_on_from(self, kept: Places) -> None:
        """Take over what `places` gave."""
        self._waiting, self._n_waiting, self._kept = [], 0, kept
        self._note_worst()

    def _merge(self) -> None:
        if self._n_waiting:
            self._kept = first_of_each(joined([self._kept, *self._waiting]), self.limit)
            self._waiting, self._n_waiting = [], 0
            self._note_worst()

    def _note_worst(self) -> None:
        counts = np.bincount(self._kept.latent, minlength=self.d_sae)
        is_full = counts == self.limit
        self.worst_key[is_full] = self._kept.key[np.cumsum(counts)[is_full] - 1]


def first_of_each(places: Places, limit: int) -> Places:
    """The first `limit` places of each latent with contexts that differ, sorted."""
    order = np.lexsort((places.pos, places.text, places.key, places.latent))
    order = order[_is_first_of_its_context(places.latent[order], places.context[order])]
    latent = places.latent[order]
    starts = np.flatnonzero(np.diff(latent, prepend=-1))
    rank = np.arange(len(latent)) - np.repeat(starts, np.diff(starts, append=len(latent)))
    return places.pick(order[rank < limit])


def _is_first_of_its_context(latent: Int[np.ndarray, "n"], context: Int[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """Whether no earlier row of the same latent has the same context."""
    order = np.lexsort((context, latent))
    same = (np.diff(latent[order]) == 0) & (np.diff(context[order]) == 0)
    is_first = np.ones(len(latent), bool)
    is_first[order[1:][same]] = False
    return is_first
