"""Building a dashboard: the cards of all latents of an SAE from one pass over texts, kept in the store as it goes.

1. Stream the texts once: activations, sparse codes, `LatentStream`. Nothing of size [tokens d_sae] is made.
2. Between batches work out what the decoder's directions say (`latent_directions`), a few latents at a time.
3. After a few seconds, and then ever more rarely, write all cards as they stand, and the state from which a build that
   was stopped goes on; the writing takes a twentieth of the time.
"""

import hashlib
import io
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession
from capture.store import ActivationStore
from capture.store_dashboards import dashboard_facts, write_dashboard
from sae.autoencoder import Autoencoder
from sae.dashboard_rows import dashboard_rows
from sae.latent_card import DashboardFacts
from sae.latent_directions import LogitPath, directions, logit_path, unknown_directions
from sae.latent_stream import LatentStream, TextTokens

REVISION = 1
"""Raised when a card's numbers change their meaning, so that no older dashboard is gone on with."""
BATCH_TOKENS = 2048
FIRST_WRITE_S, WRITE_EVERY_S = 2.0, 10.0
SHARE_WRITING = 0.05
SHARE_DIRECTIONS = 0.2
"""The most of the time, while texts are streamed, that directions may take; the rest of them come at the end."""
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Subject:
    """What a dashboard is built from. `texts_name` and `sae_name` are what people call them.

    Positions before `from_pos` are not encoded: an SAE that was trained without the first position says nothing there.
    """

    session: ModelSession
    sae: Autoencoder
    texts: tuple[tuple[int, ...], ...]
    sae_name: str = ""
    texts_name: str = ""
    hook_point: str = ""
    bos: bool = True
    from_pos: int = 1

    @property
    def at(self) -> HookPoint:
        """Where the SAE reads; raises UserError where neither the subject nor the SAE's files say it."""
        name = self.hook_point or self.sae.facts.hook_point
        if not name:
            raise UserError("The SAE's files do not say where it reads.", "Name the hook point.")
        return HookPoint.parse(name)


def build_dashboard(
    subject: Subject, store: ActivationStore, progress: Progress = lambda share, words: None
) -> DashboardFacts:
    """Build the dashboard of a subject, or go on with one that was stopped; one that is complete is left as it is.

    Cards can be read from the store while it goes on. Raises UserError where there is no text to look at, where the
    SAE does not fit the model, and where the store has no room.
    """
    path = logit_path(subject.session, subject.sae)
    facts = facts_of(subject, path)
    before = dashboard_facts(store, facts.id)
    if before is not None and (kept := DashboardFacts.from_json(before)).is_complete:
        progress(1.0, "built before")
        return kept
    build = _Build(subject, store, facts, path, progress)
    build.run()
    return build.facts


def facts_of(subject: Subject, path: LogitPath) -> DashboardFacts:
    """The facts of a dashboard before its first token; its id changes with whatever changes its numbers."""
    session, sae = subject.session, subject.sae
    n_tokens = sum(max(0, len(text) - subject.from_pos) for text in subject.texts)
    if not n_tokens:
        raise UserError("A dashboard needs texts of a few tokens; there is none.", "Give longer texts.")
    digest = hashlib.sha256()
    for text in subject.texts:
        digest.update(np.array([len(text), *text], np.int64).tobytes())
    made_of = (REVISION, sae.digest, session.fingerprint, session.dtype, session.processing, session.device)
    named = repr((*made_of, str(subject.at), digest.hexdigest(), subject.from_pos))
    return DashboardFacts(
        id=hashlib.sha256(named.encode()).hexdigest()[:32],
        sae=sae.digest,
        sae_name=subject.sae_name,
        d_sae=sae.facts.d_sae,
        model=session.name,
        fingerprint=session.fingerprint,
        dtype=session.dtype,
        processing=session.processing,
        hook_point=str(subject.at),
        texts=subject.texts_name,
        text_digest=digest.hexdigest()[:32],
        bos=subject.bos,
        n_texts=len(subject.texts),
        n_tokens=n_tokens,
        from_pos=subject.from_pos,
        logit_rule=path.rule,
    )


class _Build:
    """One build under way."""

    def __init__(
        self, subject: Subject, store: ActivationStore, facts: DashboardFacts, path: LogitPath, progress: Progress
    ) -> None:
        self.subject, self.store, self.facts, self.progress = subject, store, facts, progress
        self.stream = LatentStream(facts.d_sae, TextTokens.of(subject.texts))
        self.vocabulary = subject.session.token_texts(range(subject.session.shape.d_vocab))
        self.records = unknown_directions(facts.d_sae)
        self.blocks: Iterator[tuple[slice, Any]] = directions(subject.sae, path)
        self.n_batches = 0
        self.directions_s = 0.0
        self.began = time.monotonic()
        self.due = self.began + FIRST_WRITE_S

    def run(self) -> None:
        """Go through all texts and write the cards at the end."""
        state = _state_from(self.store.statistics(self.facts.id))
        if state is not None:
            self.n_batches = int(state["n_batches"])
            self.stream.go_on_from(state)
        session, at = self.subject.session, self.subject.at
        session.stream(
            self.subject.texts,
            (at,),
            self._update,
            progress=lambda share, words: self._after_batch(),
            batch_tokens=BATCH_TOKENS,
            skip_batches=self.n_batches,
        )
        for _ in self._worked_out():
            self._say("working out promoted tokens and neighbours")
        self._write()
        self.store.forget_statistics(self.facts.id)
        self.progress(1.0, f"{self.facts.n_tokens:,} tokens")

    @torch.no_grad()
    def _update(self, _: HookPoint, values: Tensor, text: Tensor, pos: Tensor) -> None:
        is_read = pos >= self.subject.from_pos
        rows = values.flatten(1)[is_read.to(values.device)]
        if rows.shape[1] != self.facts_d_in:
            raise UserError(
                f"This SAE reads activations of {self.facts_d_in:,} numbers; {self.facts.hook_point} of "
                f"{self.facts.model} has {rows.shape[1]:,}.",
                "It was made for another model or hook point.",
            )
        codes = self.subject.sae.encode(rows.to(self.subject.sae.W_enc.device))
        self.stream.update(codes, text[is_read].numpy(), pos[is_read].numpy())

    @property
    def facts_d_in(self) -> int:
        """How many numbers a row must have."""
        return self.subject.sae.facts.d_in

    def _after_batch(self) -> None:
        self.n_batches += 1
        if self.directions_s < SHARE_DIRECTIONS * (time.monotonic() - self.began):
            next(self._worked_out(), None)
        if time.monotonic() >= self.due:
            start = time.monotonic()
            self._write()
            self._save_state()
            end = time.monotonic()
            self.due = end + max(WRITE_EVERY_S, (end - start) / SHARE_WRITING)
        self._say(f"{self.stream.n_tokens:,} of {self.facts.n_tokens:,} tokens")

    def _worked_out(self) -> Iterator[None]:
        """Work out the directions of some latents with each step."""
        start = time.monotonic()
        for part, records in self.blocks:
            self.records[part] = records
            self.directions_s += time.monotonic() - start
            yield
            start = time.monotonic()

    def _say(self, words: str) -> None:
        self.progress(min(0.99, self.stream.n_tokens / self.facts.n_tokens), words)

    def _write(self) -> None:
        made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        self.facts = replace(self.facts, n_done=self.stream.n_tokens, made=made)
        rows = dashboard_rows(self.stream, self.records, self.vocabulary)
        write_dashboard(self.store, self.facts.id, self.facts.to_json(), rows)

    def _save_state(self) -> None:
        """Where to go on; a store that cannot keep it must not end the build."""
        state = {**self.stream.state(), "n_batches": np.array(self.n_batches)}
        with suppress(UserError):
            self.store.keep_statistics(self.facts.id, _state_bytes(state))


def _state_bytes(state: Mapping[str, Shaped[np.ndarray, "..."]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **state)
    return zlib.compress(buffer.getvalue(), 1)


def _state_from(data: bytes | None) -> dict[str, np.ndarray] | None:
    if data is None:
        return None
    with np.load(io.BytesIO(zlib.decompress(data)), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
