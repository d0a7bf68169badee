"""Logistic regression by Newton's method over batches that are read again each step; memory is that of the Hessian.

Minimises mean log-loss + ridge/2 |w|², for x centred and divided by one number, the root mean square of its entries.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Num
from torch import Tensor

Batches = Callable[[], Iterable[tuple[Float[Tensor, "rows d"], Num[Tensor, "rows"]]]]
"""Rows and 1 for the wanted class, 0 for the other; called once for every pass."""
RIDGE = 1e-2
MAX_STEPS = 30
ENOUGH = 1e-8


@dataclass(frozen=True)
class Logistic:
    """log-odds of the wanted class = x·w + b."""

    w: Float[Tensor, "d"]
    b: float

    def log_odds(self, x: Float[Tensor, "rows d"]) -> Float[Tensor, "rows"]:
        """How sure it is of each row, in nats."""
        return (x.double() @ self.w + self.b).float()


def fit_logistic(batches: Batches, ridge: float = RIDGE) -> Logistic:
    """The regression of these rows, in float64."""
    n, total, square = 0, torch.zeros(()).double(), 0.0
    for x, _ in batches():
        n, total, square = n + len(x), total + x.double().sum(dim=0), square + float((x.double() ** 2).sum())
    mean = total / n
    scale = max((square / (n * len(mean)) - float((mean**2).mean())), 1e-24) ** 0.5
    weights = torch.zeros(len(mean) + 1).double()
    for _ in range(MAX_STEPS):
        gradient, hessian = _derivatives(batches, weights, mean, scale, n, ridge)
        step = torch.linalg.solve(hessian, gradient)
        weights -= step
        if float(step.abs().max()) < ENOUGH:
            break
    w = weights[:-1] / scale
    return Logistic(w, float(weights[-1] - mean @ w))


def _derivatives(
    batches: Batches, weights: Tensor, mean: Tensor, scale: float, n: int, ridge: float
) -> tuple[Tensor, Tensor]:
    penalty = torch.full_like(weights, ridge)
    penalty[-1] = 1e-9
    gradient, hessian = penalty * weights, torch.diag(penalty)
    for x, y in batches():
        rows = torch.cat([(x.double() - mean) / scale, torch.ones(len(x), 1).double()], dim=1)
        odds = torch.sigmoid(rows @ weights)
        gradient += rows.T @ (odds - y.double()) / n
        hessian += (rows * (odds * (1 - odds))[:, None]).T @ rows / n
    return gradient, hessian
