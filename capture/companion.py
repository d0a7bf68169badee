"""Companion: a model that another one is read beside, such as one whose logits are moved to it.

It has a session of its own, which nothing else uses, so that two models that wait for each other never hang. What it
was last run on is kept with keys and values: the next token of a text is one position more.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from jaxtyping import Float
from torch import Tensor

from capture.decode_batch import DecodeBatch, Row, is_sliceable
from capture.errors import UserError
from capture.models import catalogue, load_session
from capture.remembered import Asked, KeysValues, common_length

if TYPE_CHECKING:
    from capture.session import ModelSession

MAX_HELD = 4
N_KEPT = 8
"""Texts that a companion keeps keys and values of: rows that are decoded side by side."""


@dataclass(eq=False)
class Companion:
    """A model beside another, with what it was last run on."""

    session: "ModelSession"
    _kept: dict[tuple[int, ...], KeysValues] = field(default_factory=dict)
    _compared: "WeakKeyDictionary[ModelSession, bool]" = field(default_factory=WeakKeyDictionary)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def has_tokens_of(self, session: "ModelSession") -> bool:
        """Whether both have the same text for each token that both have; one may have more rows than it has tokens."""
        if session not in self._compared:
            shared = range(min(session.shape.d_vocab, self.session.shape.d_vocab))
            self._compared[session] = session.token_texts(shared) == self.session.token_texts(shared)
        return self._compared[session]

    def logits(self, tokens: Sequence[int], first_pos: int) -> Float[Tensor, "pos d_vocab"]:
        """Logits after each token from position `first_pos` on, float32, on the CPU."""
        path: Any = self.session._decoder.path
        with self._lock, self.session.hold(f"a reading of {len(tokens):,} tokens beside another model"):
            known = max(self._kept, key=lambda one: common_length(one, tokens), default=())
            row = Row(Asked(tuple(tokens), (), ()), (), 0, 0, list(tokens))
            if is_sliceable(path.wiring.plain.config):
                row.n_cached = min(common_length(known, tokens), first_pos)
                row.keys_values = self._kept[known] if row.n_cached else ()
            batch = DecodeBatch.joined(path, [row])
            begun = row.n_cached
            found = batch.run_all()[0, first_pos - begun :]
            if known == tuple(tokens[: len(known)]):
                self._kept.pop(known, None)
            self._kept[tuple(tokens)] = batch.decoded(0).keys_values
            while len(self._kept) > N_KEPT:
                self._kept.pop(next(iter(self._kept)))
            return found


@cache
def _chosen() -> set[str]:
    return set()


def allow_companion(name: str) -> None:
    """Let changes name a model that is not in the catalogue: a person chose it."""
    _chosen().add(name)


def companion(name: str, dtype: str, device: str) -> Companion:
    """The companion of that name, loaded once; UserError for a model of which nobody here knows.

    A recipe in a link must not read folders or fetch from the hub: it may name models of the catalogue, their
    checkpoints, and those that a person chose.
    """
    known = {*(card.name for card in catalogue()), *_chosen()}
    if name not in known and name.rpartition("@")[0] not in known:
        raise UserError(
            f"A change may read models that are known here; it names {name[:80]!r}.",
            f"Choose one of: {', '.join(sorted(known))}, or a checkpoint of them, such as stories@at-4M.",
        )
    return _loaded(name, dtype, device)


@lru_cache(maxsize=MAX_HELD)
def _loaded(name: str, dtype: str, device: str) -> Companion:
    return Companion(load_session(name, dtype, device))
