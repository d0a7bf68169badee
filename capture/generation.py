"""Generation: rows of one batch decoded side by side, each under changes of its own.

1. Rows are padded on the left, so that their last tokens lie in one column; an attention mask and position ids keep
   the padding out, and changes see real positions only.
2. The first pass runs the prompts, every later one a single column, over a key/value cache.
3. A row ends after an EOS token, or where the context is full, and leaves the batch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from capture.batching import make_batch
from capture.decoding import next_tokens
from capture.intervention import Intervention
from capture.placing import placed
from capture.sampling import Sampling
from capture.wiring import Wiring, run

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
class _Row:
    """A row as it is being decoded: all its tokens, and how many of them were given or may come."""

    tokens: list[int]
    changes: tuple[Intervention, ...]
    seed: int
    n_given: int
    n_steps: int

    @property
    def new(self) -> tuple[int, ...]:
        return tuple(self.tokens[self.n_given :])


@dataclass
class Decoder:
    """What decodes in one model: its wiring, its turn, the tokens that end a text, and the length of its context."""

    wiring: Wiring
    hold: Callable[[str], AbstractContextManager[None]]
    context: int
    stops: Callable[[], frozenset[int]] = field(repr=False)

    def generate(
        self,
        rows: Sequence[GenerationRow],
        changes: Sequence[tuple[Intervention, ...]],
        n_tokens: int,
        sampling: Sampling,
        on_step: OnStep | None = None,
        use_cache: bool = True,
    ) -> tuple[tuple[int, ...], ...]:
        """The new tokens of each row; `changes` are those of the rows, bound. The turn is held for one step a time."""
        made = [self._row(row, own, n_tokens, sampling) for row, own in zip(rows, changes, strict=True)]
        active = [index for index, row in enumerate(made) if row.n_steps > 0]
        cache: Any = None
        while active:
            batch = [made[index] for index in active]
            with self.hold(f"a generation of {n_tokens:,} tokens"):
                logits, cache = self._step(batch, cache if use_cache else None, use_cache)
            steps = [len(row.new) for row in batch]
            tokens = next_tokens(logits, sampling, [row.seed for row in batch], steps, [row.tokens for row in batch])
            heard: list[int | None] = [None] * len(made)
            for index, token in zip(active, tokens, strict=True):
                made[index].tokens.append(token)
                heard[index] = token
            if on_step is not None:
                on_step(tuple(heard))
            going = [place for place, row in enumerate(batch) if not self._is_over(row)]
            if use_cache and 0 < len(going) < len(batch):
                cache.batch_select_indices(torch.tensor(going, device=self.wiring.device))
            active = [active[place] for place in going]
        return tuple(row.new for row in made)

    def _row(self, row: GenerationRow, changes: tuple[Intervention, ...], n_tokens: int, sampling: Sampling) -> _Row:
        n_steps = min(n_tokens, self.context - len(row.prompt))
        seed = sampling.seed if row.seed is None else row.seed
        return _Row(list(row.prompt), changes, seed, len(row.prompt), n_steps)

    def _is_over(self, row: _Row) -> bool:
        return len(row.new) >= row.n_steps or row.tokens[-1] in self.stops()

    def _step(self, rows: Sequence[_Row], cache: Any, use_cache: bool) -> tuple[Float[Tensor, "rows d_vocab"], Any]:
        """Logits after the last token of each row, float32, on the CPU; and the cache that this pass wrote to."""
        from transformers import DynamicCache

        lengths = [len(row.tokens) for row in rows]
        done = 0 if cache is None else cache.get_seq_length()
        arguments: dict[str, Any] = {}
        if use_cache:
            cache = DynamicCache() if cache is None else cache
            arguments = {"use_cache": True, "past_key_values": cache}
        # A row that has left may have been the longest: then what the cache has of it is padding for all.
        width = done + 1 if done else max(lengths)
        n_columns = width - done
        ids = [[0] * (n_columns - length) + row.tokens[-n_columns:] for row, length in zip(rows, lengths, strict=True)]
        n_padded = [max(0, width - length - done) for length in lengths]
        first_pos = [max(0, done - (width - length)) for length in lengths]
        if min(lengths) < width:
            arguments |= self._mask(lengths, width, n_columns)
        changes = placed([row.changes for row in rows], n_padded, first_pos)
        logits = run(self.wiring, torch.tensor(ids, device=self.wiring.device), {}, changes, **arguments)
        return logits[:, -1].float().cpu(), cache

    def _mask(self, lengths: Sequence[int], width: int, n_columns: int) -> dict[str, Tensor]:
        """Attention mask over all columns, and positions of those that are run; position 0 is the first real token."""
        pads = width - torch.tensor(lengths, device=self.wiring.device)[:, None]
        columns = torch.arange(width, device=self.wiring.device)
        positions = (columns - pads).clamp(min=0)[:, -n_columns:]
        return {"attention_mask": (columns >= pads).long(), "position_ids": positions}

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
                logits = run(self.wiring, batch.ids, {}, placed([changes[row] for row in some]))
            for place, row in enumerate(some):
                end = len(given[row])
                wanted = logits[place, end - len(continuations[row]) : end] if continuations[row] else logits[place, :0]
                yield wanted.float().log_softmax(dim=-1).cpu()
