"""The largest CETT target within a perplexity budget: Algorithm 1 of arXiv 2411.02335 with few forward passes.

Published: bisection of [0, 1] to 1e-6, so 20 sparse passes, and the dense pass before each. Here a target is a whole
number of 2**-20, the points that bisection visits, and several of them share one pass:

1. The first pass tries 1/16, 1/8, 1/4 and 1/2.
2. Where the loss would reach the budget is interpolated between the two ends of the bracket; the next pass tries the
   three points of a dyadic grid around it. When they hold the crossing, the next grid is finer yet; when they do not,
   the bracket is quartered.
3. It ends when the bracket is one step wide, or when both of its ends give the same thresholds.

The answer is the lower end: a target that was tried, and whose perplexity is within the budget. The upper end was tried
too (unless it is 1, a model without MLPs) and is beyond it. Where the loss is monotone in the target this is
bisection's answer; points in between are then known without being tried. On one set of known losses a larger budget
never gives a smaller target: the lower end is always the largest target known to be within the budget.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from capture.errors import UserError

STEPS = 1 << 20
"""Targets are multiples of 1 / STEPS."""
FIRST = (STEPS // 16, STEPS // 8, STEPS // 4, STEPS // 2)
MAX_PASSES = 11

Losses = dict[int, float]
"""Mean loss above the dense model's, in nats a token, by target in steps."""
Try = Callable[[Sequence[int]], Sequence[float]]


@dataclass(frozen=True)
class Bracket:
    """The last target within the budget (`low`, in steps) and the first beyond it, or STEPS where none was met."""

    low: int
    high: int
    n_passes: int
    n_rows: int

    @property
    def target(self) -> float:
        """The CETT target."""
        return self.low / STEPS


def budget_nats(p: float) -> float:
    """The rise of the loss that lets perplexity grow by p percent: ln(1 + p/100), in nats a token."""
    if not 0 < p <= 100:
        raise UserError(f"The budget must be above 0 and at most 100 percent; {p:g} was given.", "Try 1, 5 or 10.")
    return math.log1p(p / 100)


def search(
    try_targets: Try,
    p: float,
    known: Losses,
    is_same: Callable[[int, int], bool] = lambda low, high: False,
    max_passes: int = MAX_PASSES,
) -> Bracket:
    """The bracket of the largest target whose perplexity stays below 1 + p/100 of the dense one.

    `try_targets` gives the losses of some targets from one pass; `known` has those tried so far and takes in the new.
    `is_same` says whether two targets give the same thresholds. Raises UserError where a loss is NaN.
    """
    budget = budget_nats(p)
    known[0] = 0.0
    low, high = bracket_in(known, budget)
    asked, bits, n_passes, n_rows = list(FIRST), 4, 0, 0
    while high - low > 1 and n_passes < max_passes and not is_same(low, high):
        new = [target for target in asked if low < target < high and target not in known]
        if not new:
            new = [(low + high) // 2]
        for target, loss in zip(new, try_targets(new), strict=True):
            known[target] = _sound(loss)
        n_passes, n_rows = n_passes + 1, n_rows + len(new)
        before = high - low
        low, high = bracket_in(known, budget)
        bits = min(bits + 2, 8) if (high - low) << bits <= before else 2
        asked = _next(known, low, high, budget, bits)
    return Bracket(low, high, n_passes, n_rows)


def bracket_in(known: Losses, budget: float) -> tuple[int, int]:
    """The largest target known to be within the budget, and the next one known to be beyond it."""
    low = max(target for target, loss in known.items() if loss < budget)
    return low, min((target for target in known if target > low), default=STEPS)


def _sound(loss: float) -> float:
    if math.isnan(loss):
        raise UserError(
            "A loss must be a number; with neurons switched off this model gives NaN.",
            "Choose float32, or a model whose weights are sound.",
        )
    return loss


def _next(known: Losses, low: int, high: int, budget: float, bits: int) -> list[int]:
    """The targets of the next pass."""
    step = max(1, (high - low) >> bits)
    if bits == 2 or high == STEPS:
        return [low + (high - low) * part // 4 for part in (1, 2, 3)]
    middle = round(_crossing(low, known[low], high, known[high], budget) / step) * step
    middle = min(max(middle, low + step), high - step)
    return sorted({middle - step, middle, middle + step})


def _crossing(low: int, low_loss: float, high: int, high_loss: float, budget: float) -> float:
    """Where the loss reaches the budget, on a power law through both ends or, from 0 on, a square law."""
    if not math.isfinite(high_loss):
        return (low + high) / 2
    if low == 0:
        return high * math.sqrt(budget / high_loss)
    if low_loss <= 0:
        return low + (high - low) * (budget - low_loss) / (high_loss - low_loss)
    share = math.log(budget / low_loss) / math.log(high_loss / low_loss)
    return math.exp(math.log(low) + share * math.log(high / low))
