"""How preference and utility odds go with the strength, by the law of Why Steering Works (arXiv 2602.02343).

PrefOdds(m) = (α m + β) D(m) + b,  UtilOdds(m) = β' D(m) + b',  D(m) = (1 + (m − m0)² / Λ)^(−p), Λ and p of their own
on either side of m0.

1. One D for both curves, least squares with a soft L1 loss, each curve counted in its own spread. With D held, the rest
   is linear: the best of a grid of D is where the search begins.
2. A side has its own Λ and p where enough strengths of its sign were tried. With strengths of one sign alone, m0 lies
   among them, and D is the same on both sides of it (ours).
3. Λ and p of a side count as identified where both are known within a factor of two: from the curvature of the fit at
   its residual error, or at LEAST_ERROR of a curve's spread where that is larger (ours).
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Values = Float[np.ndarray, "_"]
MIN_SIDE = 4
"""Strengths of one sign, beside 0, that a side is fitted to."""
MIN_POINTS = {1: 5, 2: 9}
"""Strengths, 0 among them, for one side and for both: two values each, for 8 and for 10 numbers."""
LEAST_ERROR = 1e-3
SOFT = 0.1
"""Share of a curve's spread from which on a miss counts by its size rather than by its square."""
LOG_SCALES, LOG_POWERS = (math.log(1e-4), math.log(1e3)), (math.log(0.02), math.log(50.0))
"""Bounds of ln Λ, with strengths counted in the largest one, and of ln p."""
WIDEST = 0.8
"""Where m0 may lie, in the largest strength."""
N_STARTS = 4
MOST_TRIES = 120
"""Steps of one search: where Λ and p are not identifiable it would go down a flat valley for seconds."""


@dataclass(frozen=True)
class OddsPoint:
    """Mean odds of the pairs at one strength, in nats; 0 is the model as it is."""

    strength: float
    preference: float
    utility: float


@dataclass(frozen=True)
class Side:
    """Λ and p on one side of m0, and the strength at which half of D is left; None where that was not reached."""

    scale: float
    power: float
    is_identified: bool
    half: float | None = None


@dataclass(frozen=True)
class Dynamics:
    """The law with its numbers; a side is None where too few strengths of that sign were tried: D is then mirrored."""

    alpha: float
    beta: float
    offset: float
    beta_utility: float
    offset_utility: float
    m0: float
    below: Side | None
    above: Side | None
    r2_preference: float
    r2_utility: float

    def decay(self, strengths: Sequence[float]) -> Values:
        """D at some strengths, in (0, 1]: 1 at m0."""
        m = np.asarray(strengths, float)
        found = np.ones(m.shape)
        below, above = self.below or self.above, self.above or self.below
        for side, there in ((below, m < self.m0), (above, m > self.m0)):
            assert side is not None  # one of the two is there
            found[there] = (1 + (m[there] - self.m0) ** 2 / side.scale) ** -side.power
        return found

    def preference(self, strengths: Sequence[float]) -> Values:
        """Preference odds by the law."""
        return (self.alpha * np.asarray(strengths, float) + self.beta) * self.decay(strengths) + self.offset

    def utility(self, strengths: Sequence[float]) -> Values:
        """Utility odds by the law."""
        return self.beta_utility * self.decay(strengths) + self.offset_utility


def fit_dynamics(points: Sequence[OddsPoint]) -> Dynamics | None:
    """The law fitted to the odds of one layer; None where there are too few strengths, or nothing moves."""
    signs = [sign for sign in (-1, 1) if sum(one.strength * sign > 0 for one in points) >= MIN_SIDE]
    used = [one for one in points if one.strength == 0 or math.copysign(1, one.strength) in signs]
    if not signs or len(used) < MIN_POINTS[len(signs)]:
        return None
    curves = np.array([[one.preference, one.utility] for one in used]).T
    spread = curves.std(axis=1)
    if not np.isfinite(curves).all() or (spread < 1e-9).any():
        return None
    m = np.array([one.strength for one in used])
    problem = _Problem(m / np.abs(m).max(), curves / spread[:, None], tuple(signs))
    fit = problem.solved()
    return _in_units(problem, fit, float(np.abs(m).max()), spread)


@dataclass(frozen=True)
class _Problem:
    """Strengths in the largest one, both curves in their spreads, and the signs that have a side.

    Parameters are α, β, b, β', b', then ln Λ and ln p of each side, then m0.
    """

    m: Values
    curves: Float[np.ndarray, "2 n"]
    signs: tuple[int, ...]

    def decay(self, inner: Sequence[float]) -> Values:
        """D from the parameters that are not linear."""
        m0, found = inner[-1], np.ones_like(self.m)
        for place, sign in enumerate(self.signs):
            log_scale, log_power = inner[2 * place : 2 * place + 2]
            there = (self.m - m0) * sign > 0 if len(self.signs) == 2 else self.m != m0
            found[there] = (1 + (self.m[there] - m0) ** 2 / math.exp(log_scale)) ** -math.exp(log_power)
        return found

    def misses(self, given: Values) -> Values:
        """Law less curves, both curves in turn."""
        alpha, beta, offset, beta_utility, offset_utility, *inner = given.tolist()
        d = self.decay(inner)
        preference, utility = (alpha * self.m + beta) * d + offset, beta_utility * d + offset_utility
        return np.concatenate([preference - self.curves[0], utility - self.curves[1]])

    def begun(self, inner: Sequence[float]) -> Values:
        """The parameters with the linear ones by least squares."""
        d = self.decay(inner)
        columns = (np.stack([self.m * d, d, np.ones_like(d)], axis=1), np.stack([d, np.ones_like(d)], axis=1))
        linear = [np.linalg.lstsq(one, curve, rcond=None)[0] for one, curve in zip(columns, self.curves, strict=True)]
        return np.concatenate([*linear, inner])

    def solved(self) -> Values:
        """The best of searches from the best places of a grid."""
        from scipy.optimize import least_squares

        shapes = list(itertools.product(np.log((0.01, 0.1, 1.0)), np.log((0.3, 1.0, 4.0))))
        low, high = self.bounds()
        grid = [
            [*itertools.chain(*sides), centre]
            for sides in itertools.product(shapes, repeat=len(self.signs))
            for centre in np.linspace(low[-1] / 2, high[-1] / 2, 5).tolist()
        ]
        starts = sorted((self.begun(inner) for inner in grid), key=lambda one: float((self.misses(one) ** 2).sum()))
        fits = [
            least_squares(
                self.misses,
                np.clip(one, low, high),
                bounds=(low, high),
                loss="soft_l1",
                f_scale=SOFT,
                max_nfev=MOST_TRIES,
            )
            for one in starts[:N_STARTS]
        ]
        return np.asarray(min(fits, key=lambda fit: fit.cost).x)

    def bounds(self) -> tuple[Values, Values]:
        """What the parameters may be."""
        linear, centres = (-1e6, 1e6), (WIDEST * min(*self.signs, 0), WIDEST * max(*self.signs, 0))
        columns = [linear] * 5 + [LOG_SCALES, LOG_POWERS] * len(self.signs) + [centres]
        low, high = np.array(columns).T
        return low, high

    def errors(self, found: Values) -> Values:
        """Standard error of each parameter, from the curvature at the fit."""
        from scipy.optimize import approx_fprime

        slopes = approx_fprime(found, self.misses, 1e-6)
        misses = self.misses(found)
        # The middle miss, and not the mean of squares: one wild point says nothing of the others.
        error = max(float(np.median(np.abs(misses))) * 1.4826, LEAST_ERROR)
        sizes, turns = np.linalg.svd(slopes, full_matrices=False)[1:]
        return error * np.sqrt(((turns / np.maximum(sizes, 1e-12)[:, None]) ** 2).sum(axis=0))

    def r2(self, found: Values) -> tuple[float, float]:
        """Share of each curve's variance that the law explains."""
        misses = self.misses(found).reshape(2, -1)
        shares = 1 - (misses**2).mean(axis=1) / self.curves.var(axis=1)
        return float(shares[0]), float(shares[1])


def _in_units(problem: _Problem, found: Values, most: float, spread: Values) -> Dynamics:
    """The law with strengths and odds as they were given."""
    alpha, beta, offset, beta_utility, offset_utility, *inner = found.tolist()
    errors, (low, high) = problem.errors(found)[5:], (one[5:] for one in problem.bounds())
    m0 = inner[-1] * most
    sides: dict[int, Side] = {}
    for place, sign in enumerate(problem.signs):
        at = slice(2 * place, 2 * place + 2)
        is_inside = np.all((np.array(inner[at]) > low[at] + 1e-3) & (np.array(inner[at]) < high[at] - 1e-3))
        scale, power = math.exp(inner[at.start]) * most**2, math.exp(inner[at.start + 1])
        half = m0 + sign * math.sqrt(scale * math.expm1(math.log(2) / power))
        is_reached = abs(half) <= max(abs(one) for one in problem.m * most if one * sign > 0)
        is_known = bool(is_inside and np.all(errors[at] < math.log(2)))
        sides[sign] = Side(scale, power, is_known, half if is_reached else None)
    preference, utility = spread.tolist()
    return Dynamics(
        alpha * preference / most,
        beta * preference,
        offset * preference,
        beta_utility * utility,
        offset_utility * utility,
        m0,
        sides.get(-1),
        sides.get(1),
        *problem.r2(found),
    )
