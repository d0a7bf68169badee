"""Fixed log-spaced bins: counts that add up exactly, whatever the order or the batches, and quantiles from them.

A bin is named by the leading bits of a float32 (its exponent and the first bits of its mantissa), so counting costs a
shift and no logarithm.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int

_EXPONENT_BIAS = 127
_MANTISSA_BITS = 23
_COLUMNS = 128
_ENTRIES = 1 << 16


@dataclass(frozen=True)
class LogBins:
    """`2**steps_bits` bins an octave from 2**lowest to 2**highest; smaller magnitudes fall in the first bin.

    A quantile is off by at most one bin: a share of 2**-steps_bits of its value.
    """

    lowest: int
    highest: int
    steps_bits: int

    @property
    def n_bins(self) -> int:
        """How many magnitudes are told apart."""
        return (self.highest - self.lowest) << self.steps_bits

    def index(self, magnitudes: Float32[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
        """The bin of each magnitude (not negative), from 0."""
        first = (self.lowest + _EXPONENT_BIAS) << self.steps_bits
        found = np.right_shift(magnitudes.view(np.int32), _MANTISSA_BITS - self.steps_bits, order="C")
        found -= first
        return np.clip(found, 0, self.n_bins - 1, out=found)

    def count(self, magnitudes: Float32[np.ndarray, "..."]) -> Int[np.ndarray, "bins"]:
        """How many magnitudes lie in each bin."""
        return np.bincount(self.index(magnitudes).ravel(), minlength=self.n_bins)

    def count_signed(self, values: Float32[np.ndarray, "..."]) -> Int[np.ndarray, "bins"]:
        """How many values lie in each of 2 * n_bins bins, from the most negative to the most positive."""
        half = 1 << (8 + self.steps_bits)
        bits = np.ascontiguousarray(values).view(np.uint32).ravel()
        found = np.zeros(2 * half, np.int64)
        for start in range(0, len(bits), _ENTRIES):
            at = bits[start : start + _ENTRIES] >> (_MANTISSA_BITS - self.steps_bits)
            found += _count(at.view(np.int32), 2 * half)
        return np.concatenate([self._fold(found[half:])[::-1], self._fold(found[:half])])

    def _fold(self, by_bits: Int[np.ndarray, "all"]) -> Int[np.ndarray, "bins"]:
        """Counts of every float32 exponent brought to these bins."""
        first = (self.lowest + _EXPONENT_BIAS) << self.steps_bits
        inside = by_bits[first : first + self.n_bins].copy()
        inside[0] += by_bits[:first].sum()
        inside[-1] += by_bits[first + self.n_bins :].sum()
        return inside

    def count_by_column(self, magnitudes: Float32[np.ndarray, "n d"]) -> Int[np.ndarray, "d bins"]:
        """How many magnitudes of each column lie in each bin."""
        # A few columns at a time, so that their bins stay in the processor's cache.
        d = magnitudes.shape[1]
        counts = np.empty((d, self.n_bins), np.int32)
        for start in range(0, d, _COLUMNS):
            found = self.index(magnitudes[:, start : start + _COLUMNS])
            width = found.shape[1]
            found += np.arange(width, dtype=np.int32) * np.int32(self.n_bins)
            counts[start : start + width] = _count(found, width * self.n_bins).reshape(width, self.n_bins)
        return counts

    def edges(self) -> Float[np.ndarray, "edges"]:
        """The n_bins + 1 limits between bins; the first is 0."""
        first = (self.lowest + _EXPONENT_BIAS) << self.steps_bits
        bits = (first + np.arange(self.n_bins + 1)).astype(np.int32) << (_MANTISSA_BITS - self.steps_bits)
        limits = bits.astype(np.int32).view(np.float32).astype(np.float64)
        limits[0] = 0.0
        return limits

    def signed_edges(self) -> Float[np.ndarray, "edges"]:
        """The 2 * n_bins + 1 limits of `count_signed`."""
        limits = self.edges()
        return np.concatenate([-limits[:0:-1], limits])


def _count(found: Int[np.ndarray, "..."], n_bins: int) -> Int[np.ndarray, "bins"]:
    # np.bincount would copy int32 to int64 first.
    return torch.bincount(torch.from_numpy(found.ravel()), minlength=n_bins).numpy()


def quantile(
    counts: Int[np.ndarray, "*rows bins"], limits: Float[np.ndarray, "edges"], share: float
) -> Float[np.ndarray, "*rows"]:
    """The value below which that share of the counted lies, interpolated within its bin; NaN where nothing was counted.

    `limits` are the edges of the bins, one more than there are bins.
    """
    upto = np.cumsum(counts, axis=-1)
    n = upto[..., -1]
    rank = share * (n - 1)
    found = np.minimum((upto <= rank[..., None]).sum(axis=-1), counts.shape[-1] - 1)
    inside = np.take_along_axis(counts, found[..., None], axis=-1)[..., 0]
    before = np.take_along_axis(upto, found[..., None], axis=-1)[..., 0] - inside
    part = (rank - before + 0.5) / np.maximum(inside, 1)
    values = limits[found] + np.clip(part, 0, 1) * (limits[found + 1] - limits[found])
    return np.where(n > 0, values, np.nan)
