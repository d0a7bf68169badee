"""The laws of activation sparsity over training: how the activation ratio A depends on the tokens D seen so far.

Luo et al. 2024, Sparsing Law (arXiv 2411.02335), D in billions of tokens, fitted by Levenberg-Marquardt as there:

    ReLU:  A(D) = exp(-c D^alpha + b) + A0      falls towards A0
    SiLU:  A(D) = A0 - c / D^alpha              rises towards A0

1. For each (alpha, c), of SiLU each alpha, on a grid, the rest is linear and solved: that gives starting points.
2. Levenberg-Marquardt from the best of them, over log alpha and log c, so that both stay above 0.
3. Intervals of a prediction from the Jacobian, by the delta method and Student's t; where there are no more points than
   parameters there is none, and where the Jacobian has not the full rank or a parameter's interval is wider than its
   value, the points are said not to identify the law.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from capture.errors import UserError

RELU, SILU = "relu", "silu"
CONFIDENCE = 0.95
TOKENS = 1e9
"""Tokens in the unit of D."""
N_STARTS = 6
ALPHAS = np.geomspace(0.03, 4.0, 24)
# c D^alpha at the largest D of the data, which says how far the exponential has come there.
REACHES = np.geomspace(0.02, 12.0, 24)
PARAMETERS = {RELU: ("alpha", "c", "b", "A0"), SILU: ("alpha", "c", "A0")}

Points = Float64[np.ndarray, "points"]
Theta = Float64[np.ndarray, "parameters"]


@dataclass(frozen=True)
class Law:
    """One curve A(D); `b` is of the ReLU form alone."""

    form: str
    alpha: float
    c: float
    limit: float
    b: float = 0.0

    def ratio(self, tokens_b: Points) -> Points:
        """The activation ratio after so many billions of tokens; infinite where the parameters are extreme."""
        with np.errstate(all="ignore"):
            if self.form == RELU:
                return np.exp(-self.c * tokens_b**self.alpha + self.b) + self.limit
            return self.limit - self.c / tokens_b**self.alpha


# Table 1 of the paper: parameters of the models without embeddings, in billions.
PUBLISHED = {
    "ReLU 0.1B": Law(RELU, 0.101, 3.20, 0.0614, -0.0151),
    "ReLU 0.2B": Law(RELU, 0.449, 0.286, 0.0674, -3.05),
    "ReLU 0.4B": Law(RELU, 0.683, 0.0790, 0.0690, -3.46),
    "ReLU 0.8B": Law(RELU, 1.01, 0.00797, 0.0721, -3.49),
    "ReLU 1.2B": Law(RELU, 1.33, 0.000903, 0.0782, -3.89),
    "ReLU 2.4B": Law(RELU, 1.53, 0.000156, 0.0648, -3.46),
    "SiLU 0.1B": Law(SILU, 0.479, 0.102, 0.409),
    "SiLU 0.2B": Law(SILU, 0.844, 0.208, 0.390),
    "SiLU 0.4B": Law(SILU, 1.03, 0.420, 0.385),
    "SiLU 0.8B": Law(SILU, 0.995, 0.562, 0.383),
    "SiLU 1.2B": Law(SILU, 0.967, 0.538, 0.382),
}
PUBLISHED_RANGE_B = (10.0, 800.0)
"""Billions of tokens over which the published curves are drawn."""


@dataclass(frozen=True)
class Fit:
    """A law fitted to points, and how sure it is: `covariance` of (log alpha, log c, [b,] A0), None where unknown."""

    law: Law
    n_points: int
    residual: float
    """Root mean square of what the law leaves, in activation ratio."""
    covariance: Float64[np.ndarray, "parameters parameters"] | None
    intervals: dict[str, tuple[float, float] | None]
    """Of each parameter; None where the points do not tell it."""

    @property
    def is_identified(self) -> bool:
        """Whether the points tell every parameter to better than its own size."""
        return all(interval is not None for interval in self.intervals.values())

    def band(self, tokens_b: Points) -> tuple[Points, Points] | None:
        """The interval of the law's ratio that its parameters' uncertainty gives; None where that is unknown."""
        if self.covariance is None:
            return None
        jacobian = _jacobian(self.law.form, _theta(self.law), tokens_b)
        spread = np.sqrt(np.einsum("ij,jk,ik->i", jacobian, self.covariance, jacobian).clip(min=0))
        half = _t_quantile(self.n_points - len(PARAMETERS[self.law.form])) * spread
        centre = self.law.ratio(tokens_b)
        return centre - half, centre + half


def form_of(activation: str) -> str:
    """Which form is for an activation function: that of ReLU for ReLU and its kin, else that of SiLU."""
    return RELU if activation.lower().startswith("relu") else SILU


def fit_law(form: str, tokens_b: ArrayLike, ratios: ArrayLike) -> Fit:
    """The law of a form through measured activation ratios, by least squares.

    Raises UserError where there are fewer different token counts than parameters, or values outside their range.
    """
    x, y = np.asarray(tokens_b, np.float64), np.asarray(ratios, np.float64)
    _check(form, x, y)
    best = min(
        (_improved(form, start, x, y) for start in _starts(form, x, y)), key=lambda theta: _loss(form, theta, x, y)
    )
    law = _law(form, best)
    residuals = law.ratio(x) - y
    covariance = _covariance(_jacobian(form, best, x), residuals)
    intervals = _intervals(form, best, covariance, len(x))
    return Fit(law, len(x), float(np.sqrt(np.mean(residuals**2))), covariance, intervals)


def _check(form: str, x: Points, y: Points) -> None:
    names = PARAMETERS[form]
    n_different = len(np.unique(x))
    if n_different < len(names):
        raise UserError(
            f"A law of {len(names)} parameters ({', '.join(names)}) needs as many checkpoints of different token "
            f"counts; {n_different} were given.",
            "Point at a folder with more checkpoints.",
        )
    if not (np.isfinite(x).all() and (x > 0).all() and np.isfinite(y).all() and ((y >= 0) & (y <= 1)).all()):
        raise UserError("A law is of token counts above 0 and of activation ratios from 0 to 1.", "Measure them again.")


def _law(form: str, theta: Theta) -> Law:
    # Beyond these the law is a step, and its powers have no number.
    alpha, c = np.exp(theta[:2].clip((-12, -60), (3, 60))).tolist()
    return Law(form, alpha, c, float(theta[-1]), float(theta[2]) if form == RELU else 0.0)


def _theta(law: Law) -> Theta:
    middle = [law.b] if law.form == RELU else []
    return np.array([np.log(law.alpha), np.log(law.c), *middle, law.limit])


def _residuals(form: str, theta: Theta, x: Points, y: Points) -> Points:
    return np.nan_to_num(_law(form, theta).ratio(x) - y, nan=1e6, posinf=1e6, neginf=-1e6).clip(-1e6, 1e6)


def _loss(form: str, theta: Theta, x: Points, y: Points) -> float:
    return float((_residuals(form, theta, x, y) ** 2).sum())


def _starts(form: str, x: Points, y: Points) -> list[Theta]:
    """The best points of the grid, each with its linear parameters solved."""
    solve = _relu_start if form == RELU else _silu_start
    found = [theta for alpha, reach in product(ALPHAS, REACHES) if (theta := solve(alpha, reach, x, y)) is not None]
    found.sort(key=lambda theta: _loss(form, theta, x, y))
    return found[:N_STARTS]


def _relu_start(alpha: float, reach: float, x: Points, y: Points) -> Theta | None:
    c = reach / x.max() ** alpha
    (scale, limit), *_ = np.linalg.lstsq(np.stack([np.exp(-c * x**alpha), np.ones_like(x)], axis=1), y, rcond=None)
    return np.array([np.log(alpha), np.log(c), np.log(max(scale, 1e-12)), limit])


def _silu_start(alpha: float, reach: float, x: Points, y: Points) -> Theta | None:
    if reach != REACHES[0]:
        return None  # c is solved for, so that one of them is enough
    (c, limit), *_ = np.linalg.lstsq(np.stack([-(x**-alpha), np.ones_like(x)], axis=1), y, rcond=None)
    return np.array([np.log(alpha), np.log(max(c, 1e-12)), limit])


def _improved(form: str, start: Theta, x: Points, y: Points) -> Theta:
    from scipy.optimize import least_squares

    found = least_squares(
        lambda theta: _residuals(form, theta, x, y), start, method="lm", xtol=1e-12, ftol=1e-12, max_nfev=2000
    )
    return np.asarray(found.x, np.float64)


def _jacobian(form: str, theta: Theta, x: Points) -> Float64[np.ndarray, "points parameters"]:
    """Derivatives of A(D) by log alpha, log c, [b,] A0."""
    law = _law(form, theta)
    with np.errstate(all="ignore"):
        return _derivatives(law, x)


def _derivatives(law: Law, x: Points) -> Float64[np.ndarray, "points parameters"]:
    if law.form == RELU:
        power = law.c * x**law.alpha
        height = np.exp(-power + law.b)
        by_alpha = -height * power * law.alpha * np.log(x)
        return np.stack([by_alpha, -height * power, height, np.ones_like(x)], axis=1)
    lost = law.c / x**law.alpha
    return np.stack([lost * law.alpha * np.log(x), -lost, np.ones_like(x)], axis=1)


def _covariance(
    jacobian: Float64[np.ndarray, "points parameters"], residuals: Points
) -> Float64[np.ndarray, "parameters parameters"] | None:
    """s^2 (J'J)^-1; None where there are no more points than parameters, or J has not the full rank."""
    n_points, n_parameters = jacobian.shape
    scale = np.linalg.norm(jacobian, axis=0)
    if n_points <= n_parameters or not (scale > 0).all() or not np.isfinite(jacobian).all():
        return None
    if np.linalg.matrix_rank(jacobian / scale, tol=1e-9) < n_parameters:
        return None
    variance = (residuals**2).sum() / (n_points - n_parameters)
    inverse = np.linalg.pinv(jacobian / scale, rcond=1e-12)
    return variance * (inverse @ inverse.T) / np.outer(scale, scale)


def _intervals(
    form: str, theta: Theta, covariance: Float64[np.ndarray, "parameters parameters"] | None, n_points: int
) -> dict[str, tuple[float, float] | None]:
    """The interval of each parameter; None where it is unknown or wider than the value is large."""
    names = PARAMETERS[form]
    if covariance is None:
        return dict.fromkeys(names)
    half = _t_quantile(n_points - len(names)) * np.sqrt(np.diag(covariance).clip(min=0))
    found: dict[str, tuple[float, float] | None] = {}
    for name, value, width in zip(names, theta.tolist(), half.tolist(), strict=True):
        is_log = name in ("alpha", "c")
        # Of a logarithm, a half width of 1 is a factor of e either way.
        is_told = width <= (1.0 if is_log else max(abs(value), 1e-12))
        turn: Callable[[float], float] = (lambda one: float(np.exp(one))) if is_log else float
        found[name] = (turn(value - width), turn(value + width)) if is_told else None
    return found


def _t_quantile(freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.5 + CONFIDENCE / 2, freedom))


def fit_sentence(fit: Fit) -> str:
    """In words, what the points say of the law and what they do not."""
    names, n = PARAMETERS[fit.law.form], fit.n_points
    limit = f"{100 * fit.law.limit:.1f} %"
    if fit.covariance is None and n <= len(names):
        return (
            f"{n} points fit {len(names)} parameters exactly, so that nothing is left to judge the law by: its limit "
            f"of {limit} is no forecast."
        )
    unknown = [name for name, interval in fit.intervals.items() if interval is None]
    if unknown:
        told = (
            f"other values of {_joined(unknown)} fit nearly as well, so that the limit of the best fit is no forecast"
        )
        return f"{n} points cannot identify all {len(names)} parameters: {told}."
    low, high = fit.intervals["A0"] or (fit.law.limit, fit.law.limit)
    return (
        f"The activation ratio goes to {limit} ({100 * low:.1f} % to {100 * high:.1f} %, {CONFIDENCE:.0%} interval "
        f"from {n} points) if the law holds beyond them."
    )


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
