"""Medians, ratios and smoothness of rows of magnitudes."""

import numpy as np
from jaxtyping import Float32, Shaped

_ROWS = 64


def row_medians(magnitudes: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n"]:
    """The median of each row, as NumPy defines it; one partition, where np.median takes two."""
    d = magnitudes.shape[1]
    middle = d // 2
    medians = np.empty(len(magnitudes), np.float32)
    # Few rows at a time stay in the processor's cache.
    for start in range(0, len(magnitudes), _ROWS):
        # As integers they are in the same order, and NumPy compares them faster.
        parted = np.partition(magnitudes[start : start + _ROWS].view(np.int32), middle, axis=1).view(np.float32)
        upper = parted[:, middle]
        medians[start : start + _ROWS] = upper if d % 2 else (upper + parted[:, :middle].max(axis=1)) / 2
    return medians


def _squares(rows: Float32[np.ndarray, "n d"]) -> Shaped[np.ndarray, "n"]:
    sums = np.empty(len(rows))
    wide = np.empty((min(len(rows), _ROWS), rows.shape[1]))
    for start in range(0, len(rows), _ROWS):
        block = wide[: len(rows[start : start + _ROWS])]
        np.copyto(block, rows[start : start + _ROWS])
        sums[start : start + _ROWS] = np.vecdot(block, block)
    return sums


def ratio(above: Shaped[np.ndarray, "*n"], below: Shaped[np.ndarray, "*n"]) -> Shaped[np.ndarray, "*n"]:
    """above / below, 0 where both are 0, and the largest float32 where only `below` is."""
    quotient = np.divide(above, below, out=np.zeros(np.shape(above), np.float32), where=below > 0)
    return np.where((below > 0) | (above == 0), quotient, np.finfo(np.float32).max).astype(np.float32)


def token_smoothness(rows: Float32[np.ndarray, "*n d"], peaks: Float32[np.ndarray, "*n"]) -> Float32[np.ndarray, "*n"]:
    """mu = max |x| / RMS of each token's vector, in [1, sqrt(d)]; 0 for a vector of zeros."""
    rms = np.sqrt(_squares(rows.reshape(-1, rows.shape[-1])).reshape(rows.shape[:-1]) / rows.shape[-1])
    return np.divide(peaks, rms, out=np.zeros_like(rms), where=rms > 0).astype(np.float32)
