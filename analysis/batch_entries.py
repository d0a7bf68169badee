"""Which entries of one batch of rows can be among the first by magnitude, or by magnitude over their row's median."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int

from analysis.magnitudes import ratio
from analysis.top_entries import TopEntries, first_entries, reach


@dataclass(frozen=True)
class Batch:
    """Rows with their magnitudes, and the text and the position each came from."""

    rows: Float32[np.ndarray, "n d"]
    magnitude: Float32[np.ndarray, "n d"]
    text: Int[np.ndarray, "n"]
    pos: Int[np.ndarray, "n"]


def reaching(magnitude: Float32[np.ndarray, "n d"], least: Float32[np.ndarray, "*least"]) -> Any:
    """Row and channel of the magnitudes that reach `least`, row by row."""
    return np.divmod(np.flatnonzero(magnitude >= least), magnitude.shape[1])


def entries_by_value_and_ratio(
    batch: Batch,
    median: Float32[np.ndarray, "n"],
    peaks: Float32[np.ndarray, "n"],
    limit: int,
    floors: tuple[float, float],
) -> tuple[TopEntries, TopEntries]:
    """The highest entries by magnitude, and by magnitude over their row's median."""
    parts = _part_peaks(batch.magnitude, peaks, limit)
    below = np.broadcast_to(median[:, None], parts.shape)
    floor = reach(parts.ravel(), limit, floors[0])
    by_value = _entries(batch, median, np.flatnonzero(peaks >= floor), np.full(len(peaks), floor))
    ratio_floor = reach(ratio(parts, below).ravel(), limit, floors[1])
    # A little less than it takes, as the product is rounded; `first_entries` decides.
    least = median.astype(np.float64) * (ratio_floor * (1 - 1e-6)) if ratio_floor > 0 else np.zeros(len(median))
    rows = np.flatnonzero(ratio(peaks, median) >= ratio_floor)
    values = first_entries(TopEntries(limit, np.abs(by_value[3]), *by_value), floor)
    by_ratio = _entries(batch, median, rows, least)
    return values, first_entries(TopEntries(limit, ratio(np.abs(by_ratio[3]), by_ratio[4]), *by_ratio), ratio_floor)


def _entries(batch: Batch, median: Any, rows: Int[np.ndarray, "some"], least: Float[np.ndarray, "n"]) -> Any:
    """Text, position, channel, value and row's median of the entries of some rows that reach the row's `least`."""
    below = np.clip(least[rows, None], 0, np.finfo(np.float32).max).astype(np.float32)
    at, channel = reaching(batch.magnitude[rows], below)
    row = rows[at]
    return batch.text[row], batch.pos[row], channel, batch.rows[row, channel], median[row]


def _part_peaks(
    magnitude: Float32[np.ndarray, "n d"], peaks: Float32[np.ndarray, "n"], limit: int
) -> Float32[np.ndarray, "n parts"]:
    """The highest magnitudes of rows; where there are few rows, of as many parts of rows as help to tell the first."""
    n, d = magnitude.shape
    n_parts = min(d, -(-2 * limit // n))
    if n >= limit or n_parts == 1:
        return peaks[:, None]
    return np.maximum.reduceat(magnitude, np.arange(n_parts) * d // n_parts, axis=1)
