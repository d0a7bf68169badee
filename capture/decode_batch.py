"""A batch of rows under way: one pass brings each to its last token, over keys and values of what was run before.

Rows are aligned on the right, so that their last tokens lie in one column; what stands to the left of a shorter row is
padding, which an attention mask and position ids keep out, and which no change ever sees.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from capture.acting import acts_between
from capture.intervention import Intervention
from capture.placing import Placed, placed, with_tokens
from capture.plain_path import PlainPath
from capture.remembered import Asked, Decoded, KeysValues, Start
from capture.summed import summed

_SLICEABLE = {"full_attention", "sliding_attention", "chunked_attention"}


@dataclass(eq=False)
class Row:
    """A row as it is being decoded; `keys_values` are of its first `n_cached` tokens, where they lie in no batch."""

    asked: Asked
    changes: tuple[Intervention, ...]
    seed: int
    n_steps: int
    tokens: list[int]
    n_cached: int = 0
    keys_values: KeysValues = ()

    @property
    def new(self) -> tuple[int, ...]:
        """The tokens behind the prompt."""
        return tuple(self.tokens[len(self.asked.prompt) :])

    @property
    def n_new(self) -> int:
        return len(self.tokens) - len(self.asked.prompt)

    def begin(self, start: Start, stops: frozenset[int]) -> None:
        """Take over what is known already, as far as this row goes."""
        n_prompt = len(self.asked.prompt)
        end = n_prompt + min(self.n_steps, len(start.tokens) - n_prompt)
        over = (pos + 1 for pos in range(n_prompt, end) if start.tokens[pos] in stops)
        self.tokens = list(start.tokens[: next(over, end)])
        self.n_cached, self.keys_values = min(start.n_cached, len(self.tokens) - 1), start.keys_values

    def between(self, start: int, end: int) -> tuple[Intervention, ...]:
        """Its changes that act at any of these positions."""
        return tuple(change for change in self.changes if acts_between(change, start, end))


def is_sliceable(config: Any) -> bool:
    """Whether a cache of the model is keys and values by position, so that a part of it means something."""
    return set(getattr(config.get_text_config(), "layer_types", None) or ()) <= _SLICEABLE


def new_cache(config: Any) -> Any:
    """An empty cache. One made without the config keeps all positions, also where attention looks at a window."""
    from transformers import DynamicCache

    return DynamicCache() if is_sliceable(config) else DynamicCache(config=config)


@dataclass
class DecodeBatch:
    """Rows side by side, with the cache that holds what was run of them; without one, everything is run each time."""

    path: PlainPath
    rows: list[Row]
    cache: Any = None
    n_columns: int = field(default=0, init=False)
    """Columns that the cache holds."""
    _sums: tuple[Sequence[tuple[Intervention, ...]], Sequence[Placed]] = field(default=((), ()), init=False)
    """What acts on a single column, and the changes that it was made of."""

    @classmethod
    def joined(cls, path: PlainPath, rows: Sequence[Row]) -> "DecodeBatch":
        """A batch whose cache has what the rows bring."""
        batch = cls(path, list(rows), new_cache(path.wiring.plain.config))
        batch.n_columns = max(row.n_cached for row in rows)
        for layer in range(len(next((row.keys_values for row in rows if row.n_cached), ()))):
            batch.cache.update(*(batch._aligned(layer, which) for which in (0, 1)), layer)
        return batch

    def _aligned(self, layer: int, which: int) -> Float[Tensor, "batch heads pos d_head"]:
        known = next(row.keys_values for row in self.rows if row.n_cached)[layer][which]
        whole = known.new_zeros(len(self.rows), known.shape[0], self.n_columns, known.shape[2])
        for place, row in enumerate(self.rows):
            if row.n_cached:
                whole[place, :, self.n_columns - row.n_cached :] = row.keys_values[layer][which][:, : row.n_cached]
        return whole

    def run(self, n_left_out: int = 0) -> Float[Tensor, "rows d_vocab"]:
        """Logits after the last token of each row but the `n_left_out` last ones, float32, on the CPU."""
        return self.run_all(n_left_out, only_last=True)[:, -1]

    def run_all(self, n_left_out: int = 0, *, only_last: bool = False) -> Float[Tensor, "rows pos d_vocab"]:
        """Logits after all that is run, or after the last column at least."""
        lengths = [len(row.tokens) - n_left_out for row in self.rows]
        known = [row.n_cached if self.cache is not None else 0 for row in self.rows]
        n_run = max(length - n for length, n in zip(lengths, known, strict=True))
        done = self.n_columns if self.cache is not None else 0
        pads = [done + n_run - length for length in lengths]
        ids = [
            [0] * max(0, n_run - n) + row.tokens[max(0, n - n_run) : n]
            for row, n in zip(self.rows, lengths, strict=True)
        ]
        first_pos = [max(0, done - pad) for pad in pads]
        changes = [row.between(a, b) for row, a, b in zip(self.rows, first_pos, lengths, strict=True)]
        made = self._placed(changes, [max(0, pad - done) for pad in pads], first_pos, n_run)
        made = with_tokens(made, [row.tokens[:length] for row, length in zip(self.rows, lengths, strict=True)])
        device = self.path.wiring.device
        cached = {} if self.cache is None else {"use_cache": True, "past_key_values": self.cache}
        masks = _masks(pads, done + n_run, n_run, device) if any(pads) else {}
        logits = self.path.forward(torch.tensor(ids, device=device), made, only_last=only_last, **cached, **masks)
        if self.cache is not None:
            self.n_columns = done + n_run
            for row, length in zip(self.rows, lengths, strict=True):
                row.n_cached = length
        return logits.float().cpu() if not only_last else logits[:, -1:].float().cpu()

    def _placed(
        self, changes: list[tuple[Intervention, ...]], n_padded: list[int], first_pos: list[int], n_run: int
    ) -> list[Placed]:
        """Where the changes act; for a single column, sums that serve until other changes act."""
        if n_run > 1 or not any(changes):
            return placed(changes, n_padded, first_pos)
        if not self._is_summed(changes):
            wiring = self.path.wiring
            self._sums = (changes, summed(changes, first_pos, wiring.widths, wiring.device))
        return [replace(one, first_pos=first_pos[(one.rows or (0,))[0]]) for one in self._sums[1]]

    def _is_summed(self, changes: list[tuple[Intervention, ...]]) -> bool:
        known = self._sums[0]
        return len(known) == len(changes) and all(
            len(one) == len(other) and all(map(operator.is_, one, other))
            for one, other in zip(known, changes, strict=True)
        )

    def keep_only(self, places: Sequence[int]) -> None:
        """Let the other rows go."""
        if len(places) == len(self.rows):
            return
        self.rows = [self.rows[place] for place in places]
        if self.cache is not None and places:
            self.cache.batch_select_indices(torch.tensor(list(places), device=self.path.wiring.device))

    def decoded(self, place: int) -> Decoded:
        """A row as it is now, with a copy of its keys and values."""
        row = self.rows[place]
        first = self.n_columns - row.n_cached
        keys_values = tuple(
            (
                layer.keys[place, :, first : self.n_columns].clone(),
                layer.values[place, :, first : self.n_columns].clone(),
            )
            for layer in self.cache.layers
        )
        return Decoded(row.asked, tuple(row.tokens[: row.n_cached + 1]), keys_values)


def _masks(pads: Sequence[int], width: int, n_run: int, device: torch.device) -> dict[str, Tensor]:
    """Attention mask over all columns, and positions of those that are run; position 0 is the first real token."""
    padded = torch.tensor(pads, device=device)[:, None]
    columns = torch.arange(width, device=device)
    return {
        "attention_mask": (columns >= padded).long(),
        "position_ids": (columns - padded).clamp(min=0)[:, width - n_run :],
    }


def caught_up(path: PlainPath, rows: Sequence[Row]) -> DecodeBatch:
    """One batch of all rows, each of which lacks its last token alone, or all of them as much.

    Rows that go on from what is remembered have different numbers of tokens to be run; those with more are run first.
    """
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(len(row.tokens) - row.n_cached if row.n_cached else 0, []).append(row)
    if len(groups) == 1:
        return DecodeBatch.joined(path, rows)
    for n_lacking, some in groups.items():
        if n_lacking == 1:
            continue
        batch = DecodeBatch.joined(path, some)
        if max(len(row.tokens) for row in some) > 1:
            batch.run(n_left_out=1)
        for place, row in enumerate(some):
            row.keys_values = batch.decoded(place).keys_values
    return DecodeBatch.joined(path, rows)
