"""Count, mean and central moments to the fourth, kept so that two halves make the whole.

Pébay 2008, Formulas for robust, one-pass parallel computation of covariances and arbitrary-order statistical moments
(Sandia SAND2008-6212), equations 2.1, 2.7 and 2.9; for the second moment Chan, Golub and LeVeque 1983.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

_ROWS = 64


@dataclass(frozen=True)
class Moments:
    """Per channel: `n` rows, their mean, and the sums of (x - mean)**p for p = 2, 3, 4; float64."""

    n: int
    mean: Float[np.ndarray, "d"]
    m2: Float[np.ndarray, "d"]
    m3: Float[np.ndarray, "d"]
    m4: Float[np.ndarray, "d"]

    @property
    def mean_square(self) -> Float[np.ndarray, "d"]:
        """Mean of x**2 over the rows."""
        return self.m2 / self.n + self.mean**2

    def kurtosis(self) -> Float[np.ndarray, "d"]:
        """E(x - mean)**4 / variance**2 over the rows, 3 for a Gaussian; NaN for a channel that never varies."""
        return _kurtosis(self.n, self.m2, self.m4, np.abs(self.mean))

    def kurtosis_of_all(self) -> float:
        """The kurtosis of all entries of all channels taken together; NaN where they are all equal."""
        mean = self.mean.mean()
        step = self.mean - mean
        m2 = (self.m2 + self.n * step**2).sum()
        m4 = (self.m4 + 4 * step * self.m3 + 6 * step**2 * self.m2 + self.n * step**4).sum()
        return float(_kurtosis(self.n * len(step), m2, m4, np.abs(self.mean).max()))


def moments_of(x: Shaped[np.ndarray, "n d"]) -> Moments:
    """The moments of the rows of x; at least one row."""
    # Few rows at a time stay in the processor's cache: about twice as fast.
    blocks = [slice(row, row + _ROWS) for row in range(0, len(x), _ROWS)]
    mean = sum(x[block].sum(axis=0, dtype=np.float64) for block in blocks) / len(x)
    m2, m3, m4 = np.zeros((3, x.shape[1]))
    for block in blocks:
        rows = x[block] - mean
        square = rows * rows
        m2 += square.sum(axis=0)
        m3 += np.einsum("nd,nd->d", square, rows)
        m4 += np.einsum("nd,nd->d", square, square)
    return Moments(len(x), mean, m2, m3, m4)


def merge_moments(a: Moments, b: Moments) -> Moments:
    """The moments of the rows of both."""
    n = a.n + b.n
    step = b.mean - a.mean
    ab = a.n * b.n
    return Moments(
        n,
        a.mean + step * (b.n / n),
        a.m2 + b.m2 + step**2 * (ab / n),
        a.m3 + b.m3 + step**3 * (ab * (a.n - b.n) / n**2) + 3 * step * (a.n * b.m2 - b.n * a.m2) / n,
        a.m4
        + b.m4
        + step**4 * (ab * (a.n**2 - ab + b.n**2) / n**3)
        + 6 * step**2 * (a.n**2 * b.m2 + b.n**2 * a.m2) / n**2
        + 4 * step * (a.n * b.m3 - b.n * a.m3) / n,
    )


def kurtosis_along(x: Shaped[np.ndarray, "*rows d"]) -> Float[np.ndarray, "*rows"]:
    """The kurtosis of each row's entries, 3 for a Gaussian; NaN for a row whose entries are all equal."""
    rows = x.astype(np.float64)
    mean = rows.mean(axis=-1, keepdims=True)
    square = (rows - mean) ** 2
    return _kurtosis(x.shape[-1], square.sum(axis=-1), (square * square).sum(axis=-1), np.abs(mean[..., 0]))


def _kurtosis(n: int, m2: Any, m4: Any, scale: Any) -> Float[np.ndarray, "*rows"]:
    # A spread that is lost in the rounding of the mean is no spread.
    varies = m2 > n * (1e-12 * scale) ** 2
    return np.where(varies, n * m4 / np.where(varies, m2, 1.0) ** 2, np.nan)
