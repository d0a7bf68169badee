"""The K entries that rank highest by some key, with their places; ties go to the earlier text, position, channel."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int, Shaped

# A batched forward pass rounds differently from a single one (about 1e-7), so keys are compared on a grid of 2**-13:
# which of two equal entries is listed then does not hang on how texts were batched.
_GRID_BITS = 10


@dataclass(frozen=True)
class TopEntries:
    """At most `limit` entries, highest key first; `row_median` is the median magnitude of the entry's own token."""

    limit: int
    key: Float32[np.ndarray, "k"]
    text: Int[np.ndarray, "k"]
    pos: Int[np.ndarray, "k"]
    channel: Int[np.ndarray, "k"]
    value: Float32[np.ndarray, "k"]
    row_median: Float32[np.ndarray, "k"]

    def __len__(self) -> int:
        return len(self.key)

    @property
    def floor(self) -> float:
        """What a key must reach to matter; minus infinity while there is room."""
        return float(on_grid(self.key[-1:])[0]) if len(self.key) >= self.limit else -np.inf


def on_grid(key: Float32[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """Keys (not negative) as they are compared."""
    bits = np.ascontiguousarray(key).view(np.int32)
    return ((bits >> _GRID_BITS) << _GRID_BITS).view(np.float32)


def reach(peaks: Float32[np.ndarray, "parts"], limit: int, floor: float) -> float:
    """The key it takes to be among the first `limit`, given the highest keys of disjoint parts of the entries."""
    if len(peaks) < limit:
        return floor
    # At least `limit` parts have an entry this high, so nothing lower can be among the first `limit`.
    return max(floor, float(on_grid(np.partition(peaks, len(peaks) - limit)[-limit:].min(keepdims=True))[0]))


def first_entries(found: TopEntries, floor: float) -> TopEntries:
    """The entries with the highest keys (not negative) that reach `floor`, at most `limit`."""
    return _first(_pick(found, found.key >= floor))


def merge_entries(a: TopEntries, b: TopEntries) -> TopEntries:
    """The highest entries of both."""
    fields = ("key", "text", "pos", "channel", "value", "row_median")
    return _first(TopEntries(a.limit, *(np.concatenate([getattr(a, f), getattr(b, f)]) for f in fields)))


def _first(found: TopEntries) -> TopEntries:
    coarse = on_grid(found.key)
    ahead = np.arange(len(coarse))
    if len(coarse) > found.limit:
        # Sorting by four keys is slow, so only what can be among the first is sorted.
        ahead = np.flatnonzero(coarse >= np.partition(coarse, len(coarse) - found.limit)[-found.limit])
    order = np.lexsort((found.channel[ahead], found.pos[ahead], found.text[ahead], -coarse[ahead]))
    first = ahead[order[: found.limit]]
    return _pick(found, first)


def _pick(found: TopEntries, some: Shaped[np.ndarray, "some"]) -> TopEntries:
    fields = (found.key, found.text, found.pos, found.channel, found.value, found.row_median)
    return TopEntries(found.limit, *(field[some] for field in fields))
