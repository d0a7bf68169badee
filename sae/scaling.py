"""The scaling law of TopK SAEs, and its refit from a grid of runs.

L(n, k) = exp(α + β_k ln k + β_n ln n + γ ln k ln n) + exp(ζ + η ln k)      (Gao et al. 2024, arXiv 2406.04093)

n latents, k of them a token; the second term does not fall with n. The paper's own constants are of GPT-4's activations
and predict nothing of another model: only the form is used here. Loss is FVU.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import product

import numpy as np
from jaxtyping import Float

from capture.errors import UserError

MIN_SIDE = 3
"""Values of n and of k that a fit of six parameters needs."""
WIDEST = 30.0
Numbers = np.ndarray | float | int


@dataclass(frozen=True)
class Point:
    """The loss of one run."""

    n: int
    k: int
    loss: float


@dataclass(frozen=True)
class ScalingLaw:
    """The six parameters."""

    alpha: float
    b_k: float
    b_n: float
    g: float
    zeta: float
    eta: float

    def loss(self, n: Numbers, k: Numbers) -> np.ndarray:
        """L(n, k)."""
        return np.asarray(self.reducible(n, k) + self.irreducible(k))

    def reducible(self, n: Numbers, k: Numbers) -> np.ndarray:
        """The term that falls with n."""
        ln_n, ln_k = np.log(n), np.log(k)
        return np.asarray(np.exp(self.alpha + self.b_k * ln_k + self.b_n * ln_n + self.g * ln_k * ln_n))

    def irreducible(self, k: Numbers) -> np.ndarray:
        """What no number of latents takes away at this k."""
        return np.asarray(np.exp(self.zeta + self.eta * np.log(k)))

    def exponent(self, k: float | int) -> float:
        """The power of n that the reducible term goes with at this k."""
        return float(self.b_n + self.g * np.log(k))


@dataclass(frozen=True)
class Refit:
    """A law, and how far it is from the points: root mean square of ln(predicted / measured), fitted and left out."""

    law: ScalingLaw
    error: float
    left_out_error: float | None
    n_points: int


def refit(points: Sequence[Point]) -> Refit:
    """The law of least squared relative error on the points, and how well it predicts each when fitted without it.

    Raises UserError for fewer than three values of n or of k, and for losses that are no positive numbers.
    """
    check_grid({one.n for one in points}, {one.k for one in points})
    if not all(np.isfinite(one.loss) and one.loss > 0 for one in points):
        raise UserError("Every loss of a grid must be a number above 0; one is not.", "Leave that run out.")
    law = _fitted(points)
    left_out: list[float] = []
    for n in range(len(points)):
        rest = [*points[:n], *points[n + 1 :]]
        if len(rest) > len(astuple(law)):
            left_out += _misses(_fitted(rest, law), [points[n]]).tolist()
    error = float(np.sqrt((_misses(law, points) ** 2).mean()))
    return Refit(law, error, float(np.sqrt(np.mean(np.square(left_out)))) if left_out else None, len(points))


def check_grid(ns: set[int], ks: set[int]) -> None:
    """Raises UserError for a grid that six parameters cannot be fitted to."""
    if len(ns) < MIN_SIDE or len(ks) < MIN_SIDE:
        raise UserError(
            f"A fit of the scaling law needs at least {MIN_SIDE} numbers of latents and {MIN_SIDE} values of k; there "
            f"are {len(ns)} and {len(ks)}.",
            "Train a larger grid: six parameters cannot be found from fewer runs.",
        )


def _misses(law: ScalingLaw, points: Sequence[Point]) -> Float[np.ndarray, "p"]:
    n, k = (np.array([getattr(one, name) for one in points], float) for name in ("n", "k"))
    return np.asarray(np.log(law.loss(n, k)) - np.log([one.loss for one in points]))


def _fitted(points: Sequence[Point], near: ScalingLaw | None = None) -> ScalingLaw:
    """The best of fits from several starts: how much of the loss is irreducible is not plain from the points."""
    from scipy.optimize import least_squares

    n, k, loss = (np.array([getattr(one, name) for one in points], float) for name in ("n", "k", "loss"))
    # Around the middle of the grid the parameters hardly depend on each other.
    x, y, target = np.log(n), np.log(k), np.log(loss)
    x0, y0 = x.mean(), y.mean()

    def misses(p: np.ndarray) -> np.ndarray:
        reducible = p[0] + p[1] * (y - y0) + p[2] * (x - x0) + p[3] * (y - y0) * (x - x0)
        return np.asarray(np.logaddexp(reducible, p[4] + p[5] * (y - y0)) - target)

    middle = target.mean()
    starts = [
        [middle + np.log(1 - share), slope_k, slope_n, 0.0, middle + np.log(share), 0.0]
        for share, slope_k, slope_n in product((0.05, 0.3, 0.7), (-0.3, 0.0), (-0.4, -0.1))
    ]
    if near is not None:
        starts = [_around(near, x0, y0)]
    fits = [least_squares(misses, np.clip(one, -WIDEST, WIDEST), bounds=(-WIDEST, WIDEST)) for one in starts]
    a, b_k, b_n, g, zeta, eta = min(fits, key=lambda fit: fit.cost).x.tolist()
    return ScalingLaw(a - b_k * y0 - b_n * x0 + g * x0 * y0, b_k - g * x0, b_n - g * y0, g, zeta - eta * y0, eta)


def _around(law: ScalingLaw, x0: float, y0: float) -> list[float]:
    """A law's parameters around the middle of a grid."""
    return [
        law.alpha + law.b_k * y0 + law.b_n * x0 + law.g * x0 * y0,
        law.b_k + law.g * x0,
        law.b_n + law.g * y0,
        law.g,
        law.zeta + law.eta * y0,
        law.eta,
    ]
