"""Generation: rows of one batch decoded side by side, each under changes of its own.

1. A row begins where one that is remembered has the same tokens and changes no more (capture.remembered).
2. The first pass runs what is left of the prompts, every later one a single column, over a key/value cache.
3. A row ends after an EOS token, or where the context is full; it leaves the batch, and is remembered.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from capture.acting import acts_of
from capture.batching import make_batch
from capture.decode_batch import DecodeBatch, Row, caught_up, is_sliceable
from capture.decoding import next_tokens
from capture.intervention import Intervention
from capture.placing import placed, with_tokens
from capture.plain_path import PlainPath
from capture.remembered import Asked, DecodedRows, draw_of
from capture.sampling import Sampling
from capture.wiring import Wiring

__all__ = ["Decoder", "GenerationRow", "OnStep", "Sampling"]

OnStep = Callable[[tuple[int | None, ...]], None]
"""Hears the new token of each row, None for a row that has none; raises to cancel."""
_BATCH_FLOATS = 1 << 26


@dataclass(frozen=True)
class GenerationRow:
    """One text to be written on, under its own changes; without a seed, with that of the sampling."""

    prompt: tuple[int, ...]
    interventions: tuple[Intervention, ...] = ()
    seed: int | None = None


@dataclass
class Decoder:
    """What decodes in one model: its wiring, its turn, the length of its context, and the tokens that end a text."""

    wiring: Wiring
    hold: Callable[[str], AbstractContextManager[None]]
    context: int
    stops: Callable[[], frozenset[int]] = field(repr=False)
    memory: DecodedRows = field(default_factory=DecodedRows)

    @cached_property
    def path(self) -> PlainPath:
        """How the model is run for the next token alone."""
        return PlainPath(self.wiring)

    def generate(
        self,
        rows: Sequence[GenerationRow],
        changes: Sequence[tuple[Intervention, ...]],
        n_tokens: int,
        sampling: Sampling,
        on_step: OnStep | None = None,
        use_cache: bool = True,
        remember: bool = True,
    ) -> tuple[tuple[int, ...], ...]:
        """The new tokens of each row; `changes` are those of the rows, bound. The turn is held for one step a time."""
        remember = remember and use_cache and is_sliceable(self.wiring.plain.config)
        made = [self._row(row, own, n_tokens, sampling) for row, own in zip(rows, changes, strict=True)]
        if remember:
            for row in made:
                row.begin(self.memory.start(row.asked), self.stops())
            _tell_known(made, on_step)
        going = [row for row in made if not self._is_over(row)]
        batch: DecodeBatch | None = None
        while going:
            with self.hold(f"a generation of {n_tokens:,} tokens"):
                batch = batch or (caught_up(self.path, going) if use_cache else DecodeBatch(self.path, going))
                logits = batch.run()
            _draw(batch.rows, logits, sampling)
            try:
                if on_step is not None:
                    on_step(tuple(row.tokens[-1] if row in going else None for row in made))
            except BaseException:
                self._let_go(batch, batch.rows, remember)
                raise
            going = [row for row in batch.rows if not self._is_over(row)]
            self._let_go(batch, [row for row in batch.rows if row not in going], remember)
        return tuple(row.new for row in made)

    def _row(self, row: GenerationRow, changes: tuple[Intervention, ...], n_tokens: int, sampling: Sampling) -> Row:
        seed = sampling.seed if row.seed is None else row.seed
        asked = Asked(row.prompt, acts_of(changes), draw_of(sampling, seed))
        return Row(asked, changes, seed, min(n_tokens, self.context - len(row.prompt)), list(row.prompt))

    def _is_over(self, row: Row) -> bool:
        return row.n_new >= row.n_steps or (row.n_new > 0 and row.tokens[-1] in self.stops())

    def _let_go(self, batch: DecodeBatch, over: Sequence[Row], remember: bool) -> None:
        """Take rows out of the batch, and remember them: that needs no turn, for the cache is the batch's own."""
        if not over:
            return
        for place, row in enumerate(batch.rows):
            if remember and row in over:
                self.memory.keep(batch.decoded(place))
        batch.keep_only([place for place, row in enumerate(batch.rows) if row not in over])

    def log_probabilities(
        self,
        rows: Sequence[GenerationRow],
        changes: Sequence[tuple[Intervention, ...]],
        continuations: Sequence[Sequence[int]],
    ) -> Iterator[Float[Tensor, "pos d_vocab"]]:
        """Per row, the log-probabilities before each token of its continuation; several rows in one pass."""
        given = [(*row.prompt, *new[:-1]) for row, new in zip(rows, continuations, strict=True)]
        n_rows = max(1, _BATCH_FLOATS // (max(map(len, given), default=1) * self.wiring.bridge.cfg.d_vocab))
        for start in range(0, len(rows), n_rows):
            some = range(start, min(start + n_rows, len(rows)))
            # Padded on the right, where no token sees it; positions are those of a row alone.
            batch = make_batch([(row, given[row]) for row in some], self.wiring.device)
            with self.hold(f"a comparison of {len(some):,} texts"):
                made = with_tokens(placed([changes[row] for row in some]), [given[row] for row in some])
                logits = self.path.forward(batch.ids, made)
            for place, row in enumerate(some):
                end = len(given[row])
                wanted = logits[place, end - len(continuations[row]) : end] if continuations[row] else logits[place, :0]
                yield wanted.float().log_softmax(dim=-1).cpu()


def _tell_known(rows: Sequence[Row], on_step: OnStep | None) -> None:
    """Let the listener hear the tokens that need not be decoded again, one of each row at a time."""
    if on_step is None:
        return
    known = [row.new for row in rows]
    for step in range(max(map(len, known), default=0)):
        on_step(tuple(new[step] if step < len(new) else None for new in known))


def _draw(rows: Sequence[Row], logits: Float[Tensor, "rows d_vocab"], sampling: Sampling) -> None:
    """Give each row its next token."""
    steps, before = [row.n_new for row in rows], [row.tokens for row in rows]
    for row, token in zip(rows, next_tokens(logits, sampling, [row.seed for row in rows], steps, before), strict=True):
        row.tokens.append(token)
