"""StatStream: what is remembered of an activation that passes by once, in space that does not grow with the tokens.

Two streams of one hook point merge into the stream of both, and splitting texts into batches changes nothing: counts,
maxima and entries are equal, moments agree to about 1e-12 of their size (float64, summed in another order).
"""

import math
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped
from torch import Tensor

from analysis.batch_entries import Batch, entries_by_value_and_ratio, reaching
from analysis.log_histogram import LogBins, quantile
from analysis.magnitudes import ratio, row_medians, token_smoothness
from analysis.moments import Moments, merge_moments, moments_of
from analysis.place_hash import place_hash
from analysis.top_entries import TopEntries, merge_entries, on_grid
from capture.errors import UserError
from capture.hook_point import HookPoint

LARGE = 6.0
"""The magnitude whose exceedances are counted by channel (Dettmers et al. 2022, LLM.int8())."""
_ROWS = 128
VALUE_BINS = LogBins(-24, 24, 6)
CHANNEL_BINS = LogBins(-12, 16, 3)
TOKEN_QUANTITIES = ("max_abs", "median_abs", "max_over_median", "smoothness")


@dataclass(frozen=True)
class Keep:
    """What a StatStream keeps beside moments, maxima and counts by channel."""

    top_k: int = 256
    quantiles: bool = True
    """Histograms of all values, of each channel's magnitude, and of each token's maximum, median, ratio, smoothness."""
    gram: bool = False
    """The sum of outer products of the rows, d x d."""
    reservoir: int = 0
    """How many rows to keep, drawn evenly: those whose place hashes lowest."""


@dataclass(frozen=True)
class Seen:
    """What one or many batches of rows left behind; see `StatStream`."""

    moments: Moments
    abs_max: Float32[np.ndarray, "d"]
    abs_max_text: Int[np.ndarray, "d"]
    abs_max_pos: Int[np.ndarray, "d"]
    n_positive: Int[np.ndarray, "d"]
    n_large: Int[np.ndarray, "d"]
    first_square: float
    values: TopEntries | None = None
    ratios: TopEntries | None = None
    value_counts: Int[np.ndarray, "bins"] | None = None
    channel_counts: Int[np.ndarray, "d channel_bins"] | None = None
    token_counts: Int[np.ndarray, "quantities token_bins"] | None = None
    gram: Float[np.ndarray, "d d"] | None = None
    reservoir: Float32[np.ndarray, "rows d"] | None = None
    reservoir_hash: Shaped[np.ndarray, "rows"] | None = None


@dataclass
class StatStream:
    """One-pass statistics of the rows seen at one hook point; `seen` is None before the first row.

    `update` takes float rows [n d] with the text and the position each came from.
    """

    at: HookPoint
    keep: Keep = field(default_factory=Keep)
    seen: Seen | None = None

    def update(
        self,
        values: Tensor | Shaped[np.ndarray, "n ..."],
        text_index: Tensor | Int[np.ndarray, "n"],
        pos: Tensor | Int[np.ndarray, "n"],
    ) -> None:
        """Take in a batch of rows; raises UserError where an entry is not a finite number."""
        rows, text, place = _rows(values), _integers(text_index), _integers(pos)
        if len(rows) == 0:
            return
        order = np.lexsort((place, text))
        if not np.array_equal(order, np.arange(len(order))):
            rows, text, place = rows[order], text[order], place[order]
        magnitude = np.abs(rows)
        if not np.isfinite(magnitude.max()):
            raise UserError(
                f"Every activation must be a finite number; {self.at} has infinite ones or NaN.",
                "Choose float32, or a model whose weights are sound.",
            )
        new = _look(Batch(rows, magnitude, text, place), self.keep, self.seen)
        self.seen = new if self.seen is None else _merge(self.seen, new, self.keep)

    def merge(self, other: "StatStream") -> "StatStream":
        """The stream of the rows of both; raises ValueError where they are of different hook points."""
        if self.at != other.at or self.keep != other.keep:
            raise ValueError(f"Only streams of one hook point merge; these are of {self.at} and {other.at}.")
        if self.seen is None or other.seen is None:
            return StatStream(self.at, self.keep, self.seen or other.seen)
        return StatStream(self.at, self.keep, _merge(self.seen, other.seen, self.keep))

    @property
    def n(self) -> int:
        """How many rows were seen."""
        return self.seen.moments.n if self.seen else 0

    @property
    def n_bytes(self) -> int:
        """The size of everything that is kept."""
        return _size(self.seen)

    def value_quantile(self, share: float) -> float:
        """The value (signed) below which that share of all entries lies, to 1.6 %."""
        return float(quantile(self._seen().value_counts, VALUE_BINS.signed_edges(), share))

    def median_magnitude(self) -> float:
        """The median of the magnitudes of all entries, to 1.6 %."""
        counts = self._seen().value_counts
        half = VALUE_BINS.n_bins
        return float(quantile(counts[half:] + counts[half - 1 :: -1], VALUE_BINS.edges(), 0.5))

    def channel_medians(self) -> Float[np.ndarray, "d"]:
        """The median over rows of each channel's magnitude, to 12.5 %."""
        return quantile(self._seen().channel_counts, CHANNEL_BINS.edges(), 0.5)

    def token_quantile(self, quantity: str, share: float) -> float:
        """The value of a token's quantity (one of TOKEN_QUANTITIES) below which that share of tokens lies, to 1.6 %."""
        counts = self._seen().token_counts
        return float(quantile(counts[TOKEN_QUANTITIES.index(quantity)], VALUE_BINS.edges(), share))

    def _seen(self) -> Any:
        if self.seen is None:
            raise ValueError(f"Nothing was seen at {self.at}.")
        return self.seen


def _rows(values: Tensor | np.ndarray) -> Float32[np.ndarray, "n d"]:
    array = values.detach().float().cpu().numpy() if isinstance(values, Tensor) else values
    return np.ascontiguousarray(array.reshape(len(array), math.prod(array.shape[1:])), dtype=np.float32)


def _integers(places: Tensor | np.ndarray) -> Int[np.ndarray, "n"]:
    array = places.cpu().numpy() if isinstance(places, Tensor) else places
    return array.astype(np.int64)


def _look(batch: Batch, keep: Keep, before: Any) -> Seen:
    """What one batch leaves behind; `before` only says which entries cannot reach the top any more."""
    rows, magnitude, text, pos = batch.rows, batch.magnitude, batch.text, batch.pos
    abs_max = magnitude.max(axis=0)
    peak = _peak_rows(magnitude, abs_max, before)
    first = rows[pos == 0].astype(np.float64)
    seen: dict[str, Any] = {
        "moments": moments_of(rows),
        "abs_max": abs_max,
        "abs_max_text": text[peak],
        "abs_max_pos": pos[peak],
        "n_positive": _count_rows(rows, np.nextafter(np.float32(0), np.float32(1))),
        "n_large": _count_rows(magnitude, np.float32(LARGE)),
        "first_square": float((first * first).sum()),
    }
    if keep.top_k or keep.quantiles:
        median, peaks = row_medians(magnitude), magnitude.max(axis=1)
    if keep.top_k:
        floors = (before.values.floor, before.ratios.floor) if before else (-np.inf, -np.inf)
        seen["values"], seen["ratios"] = entries_by_value_and_ratio(batch, median, peaks, keep.top_k, floors)
    if keep.quantiles:
        seen["value_counts"] = VALUE_BINS.count_signed(rows)
        seen["channel_counts"] = CHANNEL_BINS.count_by_column(magnitude)
        seen["token_counts"] = _count_tokens(rows, median, peaks)
    if keep.gram:
        wide = rows.astype(np.float64)
        seen["gram"] = wide.T @ wide
    if keep.reservoir:
        seen["reservoir"], seen["reservoir_hash"] = _lowest(rows, place_hash(text, pos), keep.reservoir)
    return Seen(**seen)


def _peak_rows(magnitude: Float32[np.ndarray, "n d"], abs_max: Float32[np.ndarray, "d"], before: Any) -> Any:
    """The row of each channel's largest magnitude; 0 for channels where an earlier batch had a larger one."""
    rows = np.zeros(len(abs_max), np.int64)
    ahead = _grid(abs_max) >= (_grid(before.abs_max) if before else 0)
    least = np.where(ahead, on_grid(abs_max), np.float32(np.inf))
    row, channel = reaching(magnitude, least)
    # Later assignments win, so the first row comes last.
    rows[channel[::-1]] = row[::-1]
    return rows


def _count_rows(values: Float32[np.ndarray, "n d"], least: np.float32) -> Int[np.ndarray, "d"]:
    """In how many rows each channel reaches `least`."""
    # Few enough rows for their count to fit in one byte: several times as fast.
    blocks = (values[start : start + _ROWS] >= least for start in range(0, len(values), _ROWS))
    counts = np.zeros(values.shape[1], np.int64)
    for block in blocks:
        counts += np.add.reduce(block.view(np.uint8), axis=0, dtype=np.uint8)
    return counts


def _count_tokens(
    rows: Float32[np.ndarray, "n d"], median: Float32[np.ndarray, "n"], peaks: Float32[np.ndarray, "n"]
) -> Int[np.ndarray, "quantities token_bins"]:
    quantities = (peaks, median, ratio(peaks, median), token_smoothness(rows, peaks))
    return np.stack([VALUE_BINS.count(quantity) for quantity in quantities])


def _lowest(rows: np.ndarray, hashes: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(hashes, kind="stable")[:limit]
    return rows[order], hashes[order]


def _merge(a: Any, b: Any, keep: Keep) -> Seen:
    mine = np.stack([_grid(a.abs_max), -a.abs_max_text, -a.abs_max_pos])
    other = np.stack([_grid(b.abs_max), -b.abs_max_text, -b.abs_max_pos])
    other_first = _later(mine, other)
    merged = {
        "moments": merge_moments(a.moments, b.moments),
        "abs_max": np.maximum(a.abs_max, b.abs_max),
        "abs_max_text": np.where(other_first, b.abs_max_text, a.abs_max_text),
        "abs_max_pos": np.where(other_first, b.abs_max_pos, a.abs_max_pos),
    }
    for name in ("n_positive", "n_large", "first_square", "value_counts", "channel_counts", "token_counts", "gram"):
        if getattr(a, name) is not None:
            merged[name] = getattr(a, name) + getattr(b, name)
    if keep.top_k:
        merged["values"] = merge_entries(a.values, b.values)
        merged["ratios"] = merge_entries(a.ratios, b.ratios)
    if keep.reservoir:
        rows = np.concatenate([a.reservoir, b.reservoir])
        hashes = np.concatenate([a.reservoir_hash, b.reservoir_hash])
        merged["reservoir"], merged["reservoir_hash"] = _lowest(rows, hashes, keep.reservoir)
    return Seen(**merged)


def _grid(magnitude: Float32[np.ndarray, "*n"]) -> Int[np.ndarray, "*n"]:
    """Magnitudes on the grid that `top_entries` compares on, as integers of the same order."""
    return magnitude.view(np.int32) >> 10


def _later(a: Int[np.ndarray, "keys d"], b: Int[np.ndarray, "keys d"]) -> Bool[np.ndarray, "d"]:
    """Where b stands above a, the first differing key deciding."""
    above = np.zeros(a.shape[1], bool)
    tied = np.ones(a.shape[1], bool)
    for one, other in zip(a, b, strict=True):
        above |= tied & (other > one)
        tied &= other == one
    return above


def _size(part: Any) -> int:
    if isinstance(part, np.ndarray):
        return part.nbytes
    if hasattr(part, "__dataclass_fields__"):
        return sum(_size(getattr(part, one.name)) for one in fields(part))
    return 0
