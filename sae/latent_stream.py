"""LatentStream: what is remembered of every latent while sparse codes pass by once, in space that no token adds to.

1. Sort the codes of a batch by latent, then row. 2. Add up counts, powers and a histogram for each latent.
3. Offer each text's peak to the top examples and every place to an even draw, with the values around it.
Splitting the texts into other batches changes nothing: counts, maxima and examples are equal, sums agree to about 1e-12
of their size (float64, added in another order).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Float32, Int

from kernels.topk import TopK
from sae.kept_examples import AFTER, BEFORE, WINDOW, KeptExamples, Places
from sae.losses import FIRES

N_TOP, N_DRAWN = 20, 32
N_CONTEXT = 5
"""Two places whose last tokens, this many with their own, are the same count as one context."""
LOWEST, HIGHEST, BINS_AN_OCTAVE = -12, 18, 4
N_BINS = (HIGHEST - LOWEST) * BINS_AN_OCTAVE
_MANTISSA_BITS, _EXPONENT_BIAS = 23, 127
# Batched passes round differently (about 1e-7), so values are compared on a grid of 2**-13 of their size.
_GRID_BITS = 10
_RADIX_BITS = 16
State = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class TextTokens:
    """The token ids of texts laid end to end; `start` [texts + 1] says where each begins."""

    ids: Int[np.ndarray, "tokens"]
    start: Int[np.ndarray, "texts_and_end"]

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]]) -> "TextTokens":
        """The tokens of these texts."""
        lengths = np.array([len(text) for text in texts], np.int64)
        ids = np.fromiter((token for text in texts for token in text), np.int32, int(lengths.sum()))
        return cls(ids, np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]))

    def around(
        self, text: Int[np.ndarray, "n"], pos: Int[np.ndarray, "n"], before: int, after: int
    ) -> Int[np.ndarray, "n window"]:
        """The tokens around each place; -1 where the text has none."""
        offsets = np.arange(-before, after + 1)
        at = (self.start[text] + pos)[:, None] + offsets
        is_there = (at >= self.start[text][:, None]) & (at < self.start[text + 1][:, None])
        return np.where(is_there, self.ids[np.where(is_there, at, 0)], np.int32(-1))


@dataclass
class Sums:
    """For each latent how often it fired, the sums of its values' powers 1 to 4, and how many fell in each bin."""

    n_fired: Int[np.ndarray, "d_sae"]
    powers: Float[np.ndarray, "4 d_sae"]
    counts: Int[np.ndarray, "d_sae bins"]
    largest: Float32[np.ndarray, "d_sae"]

    @classmethod
    def nothing(cls, d_sae: int) -> "Sums":
        """Before the first token."""
        return cls(
            np.zeros(d_sae, np.int64),
            np.zeros((4, d_sae)),
            np.zeros((d_sae, N_BINS), np.int32),
            np.zeros(d_sae, np.float32),
        )


@dataclass(frozen=True)
class _Fired:
    """The codes above 0 of a batch, by latent and then by row; `row` counts the batch's rows."""

    latent: Int[np.ndarray, "n"]
    row: Int[np.ndarray, "n"]
    value: Float32[np.ndarray, "n"]
    starts: Int[np.ndarray, "firing"]
    """Where each firing latent begins."""


class LatentStream:
    """Statistics and examples of `d_sae` latents over texts; `n_tokens` counts the rows seen."""

    def __init__(self, d_sae: int, texts: TextTokens) -> None:
        self.d_sae, self.texts, self.n_tokens = d_sae, texts, 0
        self.sums = Sums.nothing(d_sae)
        self.top, self.drawn = KeptExamples(d_sae, N_TOP), KeptExamples(d_sae, N_DRAWN)

    def update(self, codes: TopK, text: Int[np.ndarray, "rows"], pos: Int[np.ndarray, "rows"]) -> None:
        """Take in the codes of some rows: whole texts, each in the order of its positions."""
        self.n_tokens += len(text)
        fired = _sorted_codes(codes, self.d_sae)
        if len(fired.value) == 0:
            return
        self._add_up(fired)
        edges = _text_edges(text)
        peaks = _peaks(fired, text)
        self._offer(self.top, fired, peaks, -_grid(fired.value[peaks]), text, pos, edges)
        everywhere = np.arange(len(fired.value))
        lots = _lot(fired.latent, text[fired.row], pos[fired.row])
        self._offer(self.drawn, fired, everywhere, lots, text, pos, edges)

    def state(self) -> State:
        """All that was gathered, as arrays by name."""
        kept = {"n_tokens": np.array(self.n_tokens)}
        kept |= {f"sums.{one.name}": getattr(self.sums, one.name) for one in fields(Sums)}
        for name, examples in (("top", self.top), ("drawn", self.drawn)):
            places = examples.places()
            kept |= {f"{name}.{one.name}": getattr(places, one.name) for one in fields(Places)}
        return kept

    def go_on_from(self, state: State) -> None:
        """Put back what `state` gave."""
        self.n_tokens = int(state["n_tokens"])
        self.sums = Sums(**{one.name: state[f"sums.{one.name}"] for one in fields(Sums)})
        for name, examples in (("top", self.top), ("drawn", self.drawn)):
            examples.go_on_from(Places(**{one.name: state[f"{name}.{one.name}"] for one in fields(Places)}))

    def _add_up(self, fired: _Fired) -> None:
        firing, value = fired.latent[fired.starts], fired.value.astype(np.float64)
        self.sums.n_fired[firing] += np.diff(fired.starts, append=len(value))
        power = value
        for row in range(4):
            self.sums.powers[row, firing] += np.add.reduceat(power, fired.starts)
            power = power * value
        self.sums.largest[firing] = np.maximum(
            self.sums.largest[firing], np.maximum.reduceat(fired.value, fired.starts)
        )
        np.add.at(self.sums.counts.reshape(-1), fired.latent * N_BINS + bin_of(fired.value), np.int32(1))

    def _offer(
        self,
        examples: KeptExamples,
        fired: _Fired,
        entries: Int[np.ndarray, "n"],
        key: Int[np.ndarray, "n"],
        text: Int[np.ndarray, "rows"],
        pos: Int[np.ndarray, "rows"],
        edges: tuple[np.ndarray, np.ndarray],
    ) -> None:
        """Add those entries whose key can still matter."""
        matters = key <= examples.worst_key[fired.latent[entries]]
        chosen = entries[matters]
        row = fired.row[chosen]
        examples.add(
            Places(
                latent=fired.latent[chosen],
                key=key[matters],
                text=text[row],
                pos=pos[row],
                value=fired.value[chosen],
                context=_context(self.texts.around(text[row], pos[row], N_CONTEXT - 1, 0)),
                window=_windows(fired, chosen, edges),
            )
        )


def bin_of(values: Float32[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """The bin of positive values: four to an octave, told by the leading bits of the number, so no logarithm is taken.

    Within an octave the bins are equally wide: 1 to 1.25, 1.5, 1.75, 2 times a power of two.
    """
    bits = values.view(np.int32) >> (_MANTISSA_BITS - BINS_AN_OCTAVE.bit_length() + 1)
    return np.clip(bits - (LOWEST + _EXPONENT_BIAS) * BINS_AN_OCTAVE, 0, N_BINS - 1).astype(np.int64)


def bin_edges() -> Float[np.ndarray, "edges"]:
    """The N_BINS + 1 limits of the bins; the first bin takes in all below it and the last all above."""
    octave, step = np.divmod(np.arange(N_BINS + 1), BINS_AN_OCTAVE)
    return (1 + step / BINS_AN_OCTAVE) * 2.0 ** (octave + LOWEST)


def _sorted_codes(codes: TopK, d_sae: int) -> _Fired:
    values, indices = codes.values.cpu().float().numpy(), codes.indices.cpu().numpy()
    is_fired = values > FIRES
    row = np.broadcast_to(np.arange(len(values))[:, None], values.shape)[is_fired]
    latent, value = indices[is_fired], values[is_fired]
    order = _stable_order(latent, d_sae)
    latent = latent[order]
    return _Fired(latent, row[order], value[order], np.flatnonzero(np.diff(latent, prepend=-1)))


def _stable_order(latent: Int[np.ndarray, "n"], d_sae: int) -> Int[np.ndarray, "n"]:
    """The order by latent, equal ones as they came."""
    # numpy sorts 16-bit integers by radix, several times as fast as wider ones.
    order = np.argsort(latent.astype(np.uint16), kind="stable")
    for shift in range(_RADIX_BITS, max(1, d_sae - 1).bit_length(), _RADIX_BITS):
        order = order[np.argsort((latent >> shift).astype(np.uint16)[order], kind="stable")]
    return order


def _text_edges(text: Int[np.ndarray, "rows"]) -> tuple[np.ndarray, np.ndarray]:
    """For each row the first and the last row of its text."""
    starts = np.flatnonzero(np.diff(text, prepend=-1))
    lengths = np.diff(starts, append=len(text))
    return np.repeat(starts, lengths), np.repeat(starts + lengths - 1, lengths)


def _peaks(fired: _Fired, text: Int[np.ndarray, "rows"]) -> Int[np.ndarray, "peaks"]:
    """Of each latent and text the entry with the largest value; of equal ones the first."""
    of = text[fired.row]
    is_start = np.ones(len(of), bool)
    is_start[1:] = (np.diff(of) != 0) | (np.diff(fired.latent) != 0)
    starts = np.flatnonzero(is_start)
    grid = _grid(fired.value)
    part = np.cumsum(is_start) - 1
    at_peak = np.flatnonzero(grid == np.maximum.reduceat(grid, starts)[part])
    return at_peak[np.flatnonzero(np.diff(part[at_peak], prepend=-1))]


def _grid(values: Float32[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Positive values as they are compared: integers of the same order."""
    return (values.view(np.int32) >> _GRID_BITS).astype(np.int64)


def _lot(latent: Int[np.ndarray, "n"], text: Int[np.ndarray, "n"], pos: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """An even 31-bit hash of latent and place (the finaliser of MurmurHash3), so that a draw does not hang on order."""
    mixed = latent.astype(np.uint32) * np.uint32(0x9E3779B1)
    mixed ^= text.astype(np.uint32) * np.uint32(0x85EBCA77) + pos.astype(np.uint32) * np.uint32(0xC2B2AE3D)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(factor)
    return ((mixed ^ (mixed >> np.uint32(16))) >> np.uint32(1)).astype(np.int64)


def _context(tokens: Int[np.ndarray, "n last"]) -> Int[np.ndarray, "n"]:
    """A 64-bit hash of each row of tokens."""
    mixed = np.zeros(len(tokens), np.uint64)
    for column in tokens.T:
        mixed = (mixed ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed.view(np.int64)


def _windows(
    fired: _Fired, chosen: Int[np.ndarray, "n"], edges: tuple[np.ndarray, np.ndarray]
) -> Float32[np.ndarray, "n window"]:
    """The latent's values around each chosen entry, within its text."""
    windows = np.zeros((len(chosen), WINDOW), np.float32)
    if len(chosen) == 0:
        return windows
    first, last = edges
    n_rows = len(first)
    row, base = fired.row[chosen], fired.latent[chosen] * n_rows
    # Sorted by latent, then row, so the values around an entry are its neighbours.
    place = fired.latent * n_rows + fired.row
    low = np.searchsorted(place, base + np.maximum(row - BEFORE, first[row]))
    high = np.searchsorted(place, base + np.minimum(row + AFTER, last[row]), side="right")
    n = high - low
    which = np.repeat(np.arange(len(chosen)), n)
    entry = np.arange(len(which)) - np.repeat(np.cumsum(n) - n, n) + np.repeat(low, n)
    windows[which, fired.row[entry] - row[which] + BEFORE] = fired.value[entry]
    return windows
