"""Logistic regression: of many inputs with an L2 penalty, and of one input at a time for all latents at once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

RIDGE = 1e-6
"""Penalty RIDGE/2 w² beside the mean loss, w on the latent at unit spread: keeps w finite where classes separate."""
MAX_STEPS, MAX_MOVE, N_HALVINGS = 60, 5.0, 12
GOOD_GRADIENT = 1e-8


def softplus(x: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """ln(1 + e^x), without overflow."""
    return np.logaddexp(0.0, x)


def cross_entropy(logits: Float[np.ndarray, "n"], is_positive: Bool[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """−y ln s(logit) − (1 − y) ln(1 − s(logit)) of each text, in nats."""
    return softplus(logits) - logits * is_positive


def fit_penalised(
    x: Any, is_positive: Bool[np.ndarray, "n"], C: float = 1.0, max_steps: int = 1000
) -> tuple[Float[np.ndarray, "inputs"], float]:
    """w and b that minimise ‖w‖²/2 + C Σ cross-entropy, b free; `x` is [n inputs], sparse or not."""
    from scipy.optimize import minimize

    y = is_positive.astype(np.float64)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        w, b = weights[:-1], weights[-1]
        logits = x @ w + b
        wrong = C * (_sigmoid(logits) - y)
        value = 0.5 * float(w @ w) + C * float((softplus(logits) - y * logits).sum())
        return value, np.append(w + x.T @ wrong, wrong.sum())

    start = np.zeros(x.shape[1] + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": max_steps, "ftol": 1e-12})
    return found.x[:-1], float(found.x[-1])


@dataclass(frozen=True)
class OneInput:
    """For each latent its slope, offset and mean cross-entropy in nats."""

    slope: Float[np.ndarray, "latents"]
    offset: Float[np.ndarray, "latents"]
    loss: Float[np.ndarray, "latents"]


def fit_each(x: Any, is_positive: Bool[np.ndarray, "n"]) -> OneInput:
    """min over w, b of the mean cross-entropy of s(w x_i + b), for each column i of a sparse matrix by itself.

    Newton-Raphson for all columns at once (Gao et al. 2024, arXiv 2406.04093, section 4.2), on the entries that are
    not zero; the zeros of a column share one logit. Columns are brought to unit spread first, so that the small ridge
    is the same for a latent and its multiples.
    """
    entries = _Entries.of(x, is_positive)
    w, b = np.zeros(entries.n_columns), np.full(entries.n_columns, _log_odds(is_positive))
    for _ in range(MAX_STEPS):
        move_w, move_b, steepest = entries.newton_move(w, b)
        if steepest < GOOD_GRADIENT:
            break
        w, b = entries.move_down(w, b, move_w, move_b)
    scale = 1 / entries.spread
    return OneInput(w * scale, b - w * entries.mean * scale, entries.mean_loss(w, b))


@dataclass(frozen=True)
class _Entries:
    """The non-zero entries of a matrix, shifted and scaled by column, and what the zeros of each column come to."""

    column: np.ndarray
    value: np.ndarray
    y: np.ndarray
    zero: np.ndarray
    n_zeros: np.ndarray
    n_positive_zeros: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    n_texts: int

    @classmethod
    def of(cls, x: Any, is_positive: np.ndarray) -> "_Entries":
        coo = x.tocoo()
        n, d = x.shape
        mean = np.bincount(coo.col, coo.data, d) / n
        n_filled = np.bincount(coo.col, minlength=d)
        # Around the mean rather than from squares, which cancel where a latent hardly varies.
        off = np.bincount(coo.col, (coo.data - mean[coo.col]) ** 2, d) + (n - n_filled) * mean**2
        spread = np.sqrt(off / n)
        spread = np.where(spread > 1e-9 * np.abs(mean), spread, np.inf)  # A constant says nothing: it becomes 0.
        y = is_positive[coo.row].astype(np.float64)
        n_positive_zeros = is_positive.sum() - np.bincount(coo.col, y, d)
        value = (coo.data - mean[coo.col]) / spread[coo.col]
        return cls(coo.col, value, y, -mean / spread, n - n_filled, n_positive_zeros, mean, spread, n)

    @property
    def n_columns(self) -> int:
        return len(self.zero)

    def _sum(self, of_entries: np.ndarray, of_zeros: np.ndarray) -> np.ndarray:
        """Mean over texts, by column."""
        return (np.bincount(self.column, of_entries, self.n_columns) + of_zeros) / self.n_texts

    def mean_loss(self, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        logits = w[self.column] * self.value + b[self.column]
        at_zero = w * self.zero + b
        zeros = self.n_zeros * softplus(at_zero) - self.n_positive_zeros * at_zero
        return self._sum(softplus(logits) - self.y * logits, zeros)

    def newton_move(self, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """The Newton step of every column, at most MAX_MOVE long, and the steepest slope that is left."""
        odds = _sigmoid(w[self.column] * self.value + b[self.column])
        odds_zero = _sigmoid(w * self.zero + b)
        wrong, wrong_zero = odds - self.y, self.n_zeros * odds_zero - self.n_positive_zeros
        bend, bend_zero = odds * (1 - odds), self.n_zeros * odds_zero * (1 - odds_zero)
        slope_w = self._sum(wrong * self.value, wrong_zero * self.zero) + RIDGE * w
        slope_b = self._sum(wrong, wrong_zero)
        bend_ww = self._sum(bend * self.value**2, bend_zero * self.zero**2) + RIDGE
        bend_wb = self._sum(bend * self.value, bend_zero * self.zero)
        bend_bb = self._sum(bend, bend_zero) + RIDGE * RIDGE
        determinant = np.maximum(bend_ww * bend_bb - bend_wb**2, 1e-30)
        move_w = -(bend_bb * slope_w - bend_wb * slope_b) / determinant
        move_b = -(bend_ww * slope_b - bend_wb * slope_w) / determinant
        share = np.minimum(1.0, MAX_MOVE / np.maximum(np.hypot(move_w, move_b), 1e-30))
        return move_w * share, move_b * share, float(np.maximum(abs(slope_w), abs(slope_b)).max(initial=0.0))

    def move_down(
        self, w: np.ndarray, b: np.ndarray, move_w: np.ndarray, move_b: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Each column moved by as much of its step as does not raise its penalised loss, halving it where needed."""
        before = self.mean_loss(w, b) + RIDGE / 2 * w**2
        share = np.ones_like(w)
        for _ in range(N_HALVINGS):
            next_w, next_b = w + share * move_w, b + share * move_b
            is_worse = self.mean_loss(next_w, next_b) + RIDGE / 2 * next_w**2 > before
            if not is_worse.any():
                break
            share = np.where(is_worse, share / 2, share)
        still = np.where(is_worse, 0.0, share)
        return w + still * move_w, b + still * move_b


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-softplus(-x)))


def _log_odds(is_positive: np.ndarray) -> float:
    n_positive = int(is_positive.sum())
    return float(np.log(n_positive / (len(is_positive) - n_positive))) if 0 < n_positive < len(is_positive) else 0.0
