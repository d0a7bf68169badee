"""Medians, ratios and smoothness of rows of magnitudes."""

import numpy as np
from jaxtyping import Float32, Shaped


def row_medians(magnitudes: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n"]:
    """The median of each row, as NumPy defines it; one partition, where np.median takes two."""
    d = magnitudes.shape[1]
    middle = d // 2
    parted = np.partition(magnitudes, middle, axis=1)
    if d % 2:
        return parted[:, middle]
    return (parted[:, middle] + parted[:, :middle].max(axis=1)) / 2


def ratio(above: Shaped[np.ndarray, "*n"], below: Shaped[np.ndarray, "*n"]) -> Shaped[np.ndarray, "*n"]:
    """above / below, 0 where both are 0, and the largest float32 where only `below` is."""
    quotient = np.divide(above, below, out=np.zeros(np.shape(above), np.float32), where=below > 0)
    return np.where((below > 0) | (above == 0), quotient, np.finfo(np.float32).max).astype(np.float32)


def token_smoothness(rows: Float32[np.ndarray, "*n d"], peaks: Float32[np.ndarray, "*n"]) -> Float32[np.ndarray, "*n"]:
    """mu = max |x| / RMS of each token's vector, in [1, sqrt(d)]; 0 for a vector of zeros."""
    wide = rows.astype(np.float64)
    rms = np.sqrt(np.einsum("...d,...d->...", wide, wide) / rows.shape[-1])
    return np.divide(peaks, rms, out=np.zeros_like(rms), where=rms > 0).astype(np.float32)
