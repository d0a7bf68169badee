"""A small memory of decoded rows: a row that begins like one of them goes on from where the two part.

Where tokens and changes agree up to a position, the keys and values before it are the same, and so are the tokens that
were drawn with the same noise up to it. What is kept is bounded in bytes; what was used longest ago goes first.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from capture.acting import Act, first_difference
from capture.sampling import Sampling

MAX_BYTES = 128 << 20
KeysValues = tuple[tuple[Tensor, Tensor], ...]
"""Keys and values [heads pos d_head] of each layer."""
Draw = tuple[float | int, ...]


def draw_of(sampling: Sampling, seed: int) -> Draw:
    """What decides a draw besides the logits; the likeliest token is no draw."""
    if sampling.temperature == 0:
        return (0, sampling.repetition_penalty)
    return (sampling.temperature, sampling.top_p, sampling.top_k, sampling.repetition_penalty, seed)


@dataclass(frozen=True)
class Asked:
    """A row that is to be decoded: its prompt, what acts on it, and how its tokens are drawn."""

    prompt: tuple[int, ...]
    acts: tuple[Act, ...]
    draw: Draw


@dataclass(frozen=True)
class Start:
    """Where a row may begin: all tokens known so far, the prompt first, and keys and values of some of them."""

    tokens: tuple[int, ...]
    keys_values: KeysValues = ()
    n_cached: int = 0


@dataclass(frozen=True)
class Decoded:
    """A row as it was decoded: all its tokens, and keys and values of all but the last of them."""

    asked: Asked
    tokens: tuple[int, ...]
    keys_values: KeysValues

    @property
    def n_bytes(self) -> int:
        return sum(one.nbytes for both in self.keys_values for one in both)

    def start_for(self, asked: Asked) -> Start:
        """How much of this row another one has in common."""
        parts = _difference(self.asked.acts, asked.acts)
        is_same_text = asked.prompt == self.asked.prompt and asked.draw == self.asked.draw
        # The logits at the first position that differs choose the token behind it.
        tokens = self.tokens[: max(parts + 1, len(asked.prompt))] if is_same_text else asked.prompt
        inner = _difference(*([one for one in acts if one.is_inner] for acts in (self.asked.acts, asked.acts)))
        # The last token is run in any case: its logits were not kept.
        n_cached = min(inner, common_length(tokens, self.tokens), len(tokens) - 1, len(self.tokens) - 1)
        return Start(tokens, self.keys_values if n_cached else (), n_cached)


def _difference(a: Sequence[Act], b: Sequence[Act]) -> int:
    found = first_difference(a, b)
    return 1 << 62 if found is None else found


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two texts have in common from the first on."""
    pairs = zip(a, b, strict=False)
    return next((n for n, (one, other) in enumerate(pairs) if one != other), min(len(a), len(b)))


@dataclass
class DecodedRows:
    """Decoded rows by what was asked for, the one used longest ago first; several threads may use it."""

    max_bytes: int = MAX_BYTES
    _rows: dict[Asked, Decoded] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, asked: Asked) -> Start:
        """The start that leaves least to be run; the bare prompt where nothing is known."""
        with self._lock:
            found = [(one.start_for(asked), one) for one in self._rows.values()]
            best, source = max(found, key=lambda pair: pair[0].n_cached, default=(Start(asked.prompt), None))
            if source is None or best.n_cached == 0:
                return Start(asked.prompt)
            self._rows[source.asked] = self._rows.pop(source.asked)
            return best

    def keep(self, row: Decoded) -> None:
        """Keep a row, unless a longer one of the same kind is there; older ones go where there is no room."""
        with self._lock:
            known = self._rows.pop(row.asked, None)
            row = known if known is not None and len(known.tokens) > len(row.tokens) else row
            if row.n_bytes > self.max_bytes:
                return
            self._rows[row.asked] = row
            total = sum(one.n_bytes for one in self._rows.values())
            while total > self.max_bytes:
                total -= self._rows.pop(next(iter(self._rows))).n_bytes
